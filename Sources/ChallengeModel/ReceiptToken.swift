import Crypto
import Foundation

/// What a push carries so that a device can say "received" without a key: bound to account, service, challenge, factor,
/// dispatch and expiry by an HMAC, checked without the store, good for nothing else.
///
/// At most 138 characters of base64url: version, key hint, expiry in seconds, four SIDs, dispatch id, 16 bytes of HMAC-SHA256.
public struct ReceiptToken: Hashable, Sendable {
    public let account: AccountSID
    public let service: ServiceSID
    public let challenge: ChallengeSID
    public let factor: FactorSID
    public let dispatch: DispatchID
    /// The challenge's expiry, epoch milliseconds, in whole seconds (rounded up).
    public let expiresAtMs: Int64

    /// A token is good until the challenge's expiry and this much more.
    public static let graceMs: Int64 = 60_000

    public init(
        account: AccountSID, service: ServiceSID, challenge: ChallengeSID, factor: FactorSID, dispatch: DispatchID,
        expiresAtMs: Int64
    ) {
        self.account = account
        self.service = service
        self.challenge = challenge
        self.factor = factor
        self.dispatch = dispatch
        self.expiresAtMs = (expiresAtMs + 999) / 1000 * 1000
    }

    /// The token as text, under the ring's first key.
    public func sealed(with keys: KeyRing) -> String {
        var bytes = body(keyHint: Self.hint(of: keys.first))
        bytes.append(contentsOf: Self.code(over: bytes, key: keys.first))
        return Base64URL.encode(bytes)
    }

    /// Nil for every bad token alike: wrong form, wrong key, altered, or past its expiry and grace.
    public init?(_ text: String, keys: KeyRing, nowMs: Int64) {
        guard text.utf8.count <= 160, let bytes = Base64URL.decode(text), bytes.count >= 87, bytes[0] == 1 else {
            return nil
        }
        let body = bytes.dropLast(16)
        let matches = keys.keys.contains { key in
            Self.hint(of: key) == bytes[1] && HMACComparison.equal(Self.code(over: body, key: key), bytes.suffix(16))
        }
        guard matches else { return nil }
        let seconds = body[2..<6].reduce(Int64(0)) { $0 << 8 | Int64($1) }
        let tail = body.dropFirst(70)
        let dispatch: DispatchID
        switch (tail.first, tail.count) {
        case (0, 1): dispatch = .creation
        case (1, 3): dispatch = .attempt(UInt16(tail[tail.startIndex + 1]) << 8 | UInt16(tail[tail.startIndex + 2]))
        case (2, 17): dispatch = .resend(NotificationSID(bytes: tail.dropFirst()))
        default: return nil
        }
        self.init(
            account: AccountSID(bytes: body[6..<22]), service: ServiceSID(bytes: body[22..<38]),
            challenge: ChallengeSID(bytes: body[38..<54]), factor: FactorSID(bytes: body[54..<70]), dispatch: dispatch,
            expiresAtMs: seconds * 1000)
        guard nowMs <= expiresAtMs + Self.graceMs else { return nil }
    }

    private func body(keyHint: UInt8) -> [UInt8] {
        let seconds = UInt32(clamping: expiresAtMs / 1000)
        var bytes: [UInt8] = [
            1, keyHint, UInt8(truncatingIfNeeded: seconds >> 24), UInt8(truncatingIfNeeded: seconds >> 16),
            UInt8(truncatingIfNeeded: seconds >> 8), UInt8(truncatingIfNeeded: seconds),
        ]
        bytes += account.bytes + service.bytes + challenge.bytes + factor.bytes
        switch dispatch {
        case .creation: bytes.append(0)
        case .attempt(let number): bytes += [1, UInt8(number >> 8), UInt8(number & 255)]
        case .resend(let sid): bytes += [2] + sid.bytes
        }
        return bytes
    }

    private static func code(over body: some Collection<UInt8>, key: KeyRing.Key) -> [UInt8] {
        var authenticator = HMAC<SHA256>(key: key.material)
        authenticator.update(data: Array("beckon receipt token".utf8))
        authenticator.update(data: Array(body))
        return Array(authenticator.finalize().prefix(16))
    }

    /// One byte of the key's id, to find the key; not a secret.
    private static func hint(of key: KeyRing.Key) -> UInt8 {
        SHA256.hash(data: Array(key.id.utf8)).first { _ in true } ?? 0
    }
}

/// Comparison whose time does not depend on where two codes differ.
public enum HMACComparison {
    public static func equal(_ a: some Collection<UInt8>, _ b: some Collection<UInt8>) -> Bool {
        guard a.count == b.count else { return false }
        return zip(a, b).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

/// RFC 4648, section 5, without padding.
public enum Base64URL {
    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString()
            .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    /// Nil when `text` has padding, another alphabet or a bad length.
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var standard = ""
        standard.reserveCapacity(text.utf8.count + 3)
        for scalar in text.unicodeScalars {
            switch scalar {
            case "-": standard.unicodeScalars.append("+")
            case "_": standard.unicodeScalars.append("/")
            case "A"..."Z", "a"..."z", "0"..."9": standard.unicodeScalars.append(scalar)
            default: return nil
            }
        }
        while standard.utf8.count % 4 != 0 { standard.append("=") }
        return Data(base64Encoded: standard).map(Array.init)
    }
}
