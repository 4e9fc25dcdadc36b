import ChallengeModel
import Crypto
import Foundation
import Synchronization
import Wire

/// The APNs provider token of one key: one value for all connections of this process, and, but for the signature, of all others.
///
/// Apple wants a new one no more often than every 20 minutes and no older than 60 ("Establishing a token-based connection to
/// APNs"). `iat` is the start of a period of 40 minutes, as of two minutes ago: at most 42 minutes old, and never in
/// the future of a server whose clock is a little behind.
final class ProviderToken: BearerSigner {
    static let periodMs: Int64 = 40 * 60_000
    static let clockSlackMs: Int64 = 2 * 60_000
    /// A token asked for out of turn, after one was refused as expired.
    static let shortestRenewalMs: Int64 = 20 * 60_000

    private struct Current {
        var issuedAt: Int64
        var period: Int64
        var bearer: SharedBytes
        var madeAtMs: Int64
    }

    private let key: P256.Signing.PrivateKey
    private let keyID: String
    private let teamID: String
    private let current = Mutex<Current?>(nil)

    /// - Throws: ``UnusableCredential`` when the PEM is no P-256 key, or an id is missing.
    init(_ secret: ApnsTokenKey) throws {
        guard !secret.keyID.isEmpty, !secret.teamID.isEmpty else {
            throw UnusableCredential("an APNs key needs key_id and team_id")
        }
        do {
            key = try P256.Signing.PrivateKey(pemRepresentation: secret.privateKeyPem)
        } catch {
            throw UnusableCredential("private_key_pem is not a P-256 key in PKCS #8 PEM, as in Apple's .p8 file")
        }
        keyID = secret.keyID
        teamID = secret.teamID
    }

    /// Epoch seconds of the `iat` that is in force at a time.
    static func issuedAt(nowMs: Int64) -> Int64 { (nowMs - clockSlackMs) / periodMs * periodMs / 1000 }

    /// `bearer <token>`, made at most once per period.
    func bearer(nowMs: Int64) throws -> SharedBytes {
        try current.withLock { current in
            let period = Self.issuedAt(nowMs: nowMs)
            if let current, current.period == period { return current.bearer }
            let made = try make(issuedAt: period, period: period, nowMs: nowMs)
            current = made
            return made.bearer
        }
    }

    /// Another token than `refused`, which APNs called expired. Nil when there is none to be had: a renewal out of turn is allowed
    /// once in 20 minutes, or APNs answers TooManyProviderTokenUpdates and closes its doors.
    func renewed(refused: SharedBytes, nowMs: Int64) throws -> SharedBytes? {
        let valid = try bearer(nowMs: nowMs)
        if valid !== refused { return valid }
        return try current.withLock { current in
            guard let known = current else { return nil }
            if known.bearer !== refused { return known.bearer }
            // Our clock is behind, or Apple's ahead: as young as we can make it. Kept until the next period.
            let issuedAt = nowMs / 1000
            guard nowMs - known.madeAtMs >= Self.shortestRenewalMs || known.issuedAt == known.period,
                issuedAt - known.issuedAt >= 60
            else { return nil }
            let made = try make(issuedAt: issuedAt, period: known.period, nowMs: nowMs)
            current = made
            return made.bearer
        }
    }

    private func make(issuedAt: Int64, period: Int64, nowMs: Int64) throws -> Current {
        let header = JSONValue.object([("alg", .string("ES256")), ("kid", .string(keyID))])
        let claims = JSONValue.object([("iat", .integer(issuedAt)), ("iss", .string(teamID))])
        let token = try CompactJWT.signed(header: header.bytes, payload: claims.bytes) {
            try key.signature(for: $0).rawRepresentation
        }
        return Current(
            issuedAt: issuedAt, period: period, bearer: SharedBytes("bearer " + token), madeAtMs: nowMs)
    }
}
