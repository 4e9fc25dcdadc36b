import ChallengeModel
import Crypto
import Foundation
import Synchronization
import Wire

/// The APNs provider token of one key. All connections of this process use the same value. Other processes use a token
/// that differs only in its signature. Apple allows a new token at most every 20 minutes, and a token is valid for at
/// most 60 minutes ("Establishing a token-based connection to APNs"). `iat` is the start of the 40-minute period that
/// contains the time two minutes ago. It is therefore at most 42 minutes old, and not in the future for a server whose
/// clock is slightly behind.
final class ProviderToken: BearerSigner {
    static let periodMs: Int64 = 40 * 60_000
    static let clockSlackMs: Int64 = 2 * 60_000
    /// Shortest time between two tokens when a new token is created early because APNs refused the last one as expired.
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

    /// - Throws: ``UnusableCredential`` when the PEM is not a P-256 key, or an id is missing.
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

    /// The `iat` in epoch seconds that is valid at this time.
    static func issuedAt(nowMs: Int64) -> Int64 { (nowMs - clockSlackMs) / periodMs * periodMs / 1000 }

    /// Returns `bearer <token>`. A token is created at most once per period.
    func bearer(nowMs: Int64) throws -> SharedBytes {
        try current.withLock { current in
            let period = Self.issuedAt(nowMs: nowMs)
            if let current, current.period == period { return current.bearer }
            let made = try make(issuedAt: period, period: period, nowMs: nowMs)
            current = made
            return made.bearer
        }
    }

    /// A new token instead of `refused`, which APNs reported as expired. Nil when no new token is allowed yet: an early
    /// renewal is allowed once in 20 minutes. After more of them APNs refuses all requests with
    /// TooManyProviderTokenUpdates.
    func renewed(refused: SharedBytes, nowMs: Int64) throws -> SharedBytes? {
        let valid = try bearer(nowMs: nowMs)
        if valid !== refused { return valid }
        return try current.withLock { current in
            guard let known = current else { return nil }
            if known.bearer !== refused { return known.bearer }
            // This clock is behind or Apple's is ahead, so the new token gets the current time. It is used until the
            // next period.
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
