import Crypto
import Wire

/// The tag in a push by which a provider's own delivery receipt is recognised: challenge, factor and dispatch, bound by
/// an HMAC. Huawei returns `biTag` in its receipts. It has at most 64 bytes, too few for a ``ReceiptToken``. Account,
/// service and expiry belong to the challenge and are read from the store.
/// 64 characters of base64url: key hint, two SIDs, two bytes of dispatch, 13 bytes of HMAC-SHA256. It goes only to the
/// provider. Devices get a ``ReceiptToken``.
public struct ReceiptTag: Hashable, Sendable {
    public let challenge: ChallengeSID
    public let factor: FactorSID
    /// Nil for a resend, because its SID does not fit.
    public let dispatch: DispatchID?

    public static let characters = 64
    private static let codeBytes = 13
    private static let name = Array("beckon receipt tag".utf8)

    /// - Parameter dispatch: a resend becomes nil.
    public init(challenge: ChallengeSID, factor: FactorSID, dispatch: DispatchID) {
        self.challenge = challenge
        self.factor = factor
        if case .resend = dispatch { self.dispatch = nil } else { self.dispatch = dispatch }
    }

    /// The tag as text, made with the ring's first key. A repeat of the same push has the same text.
    public func sealed(with keys: KeyRing) -> String {
        let key = keys.first
        var bytes = Self.name
        bytes.reserveCapacity(Self.name.count + 48)
        bytes.append(key.hint)
        challenge.appendBytes(to: &bytes)
        factor.appendBytes(to: &bytes)
        let number: UInt16 =
            switch dispatch {
            case .creation: 0
            case .attempt(let number): min(number, .max - 1)
            case .resend, nil: .max
            }
        bytes.append(UInt8(number >> 8))
        bytes.append(UInt8(number & 255))
        key.code(over: bytes).withUnsafeBytes { bytes.append(contentsOf: $0.prefix(Self.codeBytes)) }
        return bytes.withUnsafeBytes { all in
            Base64URL.encode(UnsafeRawBufferPointer(rebasing: all[Self.name.count...]))
        }
    }

    /// Nil for every invalid tag: wrong form, wrong key, or changed.
    public init?(_ text: String, keys: KeyRing) {
        guard text.utf8.count == Self.characters, let bytes = Base64URL.decode(text), bytes.count == 48 else {
            return nil
        }
        let body = bytes.dropLast(Self.codeBytes)
        let matches = keys.keys.contains { key in
            key.hint == bytes[0]
                && key.code(over: Self.name + body).withUnsafeBytes {
                    HMACComparison.equal($0.prefix(Self.codeBytes), bytes.suffix(Self.codeBytes))
                }
        }
        guard matches else { return nil }
        challenge = ChallengeSID(bytes: body[1..<17])
        factor = FactorSID(bytes: body[17..<33])
        switch UInt16(body[33]) << 8 | UInt16(body[34]) {
        case 0: dispatch = .creation
        case .max: dispatch = nil
        case let number: dispatch = .attempt(number)
        }
    }
}
