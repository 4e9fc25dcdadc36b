import Crypto
import Wire

/// The token in a push with which a device can confirm receipt without a key. An HMAC binds it to account, service,
/// challenge, factor, dispatch and expiry. It is checked without the store and allows nothing else.
///
/// At most 138 characters of base64url: version, key hint, expiry in seconds, four SIDs, dispatch id, 16 bytes of
/// HMAC-SHA256.
public struct ReceiptToken: Hashable, Sendable {
    public let account: AccountSID
    public let service: ServiceSID
    public let challenge: ChallengeSID
    public let factor: FactorSID
    public let dispatch: DispatchID
    /// The challenge's expiry, epoch milliseconds, in whole seconds (rounded up).
    public let expiresAtMs: Int64

    /// A token is valid until this time after the challenge's expiry.
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

    /// The token as text, made with the ring's first key.
    public func sealed(with keys: KeyRing) -> String {
        let key = keys.first
        // The leading name is authenticated but not sent. It distinguishes these MACs from all others under the key.
        var bytes = Self.name
        bytes.reserveCapacity(Self.name.count + 103)
        appendBody(keyHint: key.hint, to: &bytes)
        key.code(over: bytes).withUnsafeBytes { bytes.append(contentsOf: $0.prefix(16)) }
        return bytes.withUnsafeBytes { all in
            Base64URL.encode(UnsafeRawBufferPointer(rebasing: all[Self.name.count...]))
        }
    }

    /// Nil for every invalid token: wrong form, wrong key, changed, or older than its expiry and grace time.
    public init?(_ text: String, keys: KeyRing, nowMs: Int64) {
        guard text.utf8.count <= 160, let bytes = Base64URL.decode(text), bytes.count >= 87, bytes[0] == 1 else {
            return nil
        }
        let body = bytes.dropLast(16)
        let matches = keys.keys.contains { key in
            key.hint == bytes[1]
                && key.code(over: Self.name + body).withUnsafeBytes {
                    HMACComparison.equal($0.prefix(16), bytes.suffix(16))
                }
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

    private static let name = Array("beckon receipt token".utf8)

    private func appendBody(keyHint: UInt8, to bytes: inout [UInt8]) {
        let seconds = UInt32(clamping: expiresAtMs / 1000)
        bytes.append(1)
        bytes.append(keyHint)
        for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: seconds >> shift)) }
        account.appendBytes(to: &bytes)
        service.appendBytes(to: &bytes)
        challenge.appendBytes(to: &bytes)
        factor.appendBytes(to: &bytes)
        switch dispatch {
        case .creation: bytes.append(0)
        case .attempt(let number):
            bytes.append(1)
            bytes.append(UInt8(number >> 8))
            bytes.append(UInt8(number & 255))
        case .resend(let sid):
            bytes.append(2)
            sid.appendBytes(to: &bytes)
        }
    }
}

/// Compares two MACs or secrets in a time that does not depend on the position of a difference.
public enum HMACComparison {
    public static func equal(_ a: some Collection<UInt8>, _ b: some Collection<UInt8>) -> Bool {
        guard a.count == b.count else { return false }
        // All values here are contiguous bytes. A comparison element by element through `Collection` costs twenty times
        // as much.
        let difference = a.withContiguousStorageIfAvailable { a in
            b.withContiguousStorageIfAvailable { b in
                var difference: UInt8 = 0
                for index in 0..<a.count { difference |= a[index] ^ b[index] }
                return difference
            }
        }
        if case .some(.some(let difference)) = difference { return difference == 0 }
        return zip(a, b).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
