/// The kind of resource that a ``SID`` names: two letters before 32 hexadecimal digits.
public protocol SIDKind: Sendable {
    /// Two upper-case letters.
    static var prefix: String { get }
}

/// The identifier of a resource: two letters that name its kind and 32 hexadecimal digits, `^XX[0-9a-f]{32}$`.
/// Generated identifiers are ordered by time: after the optional variant they have 12 digits of epoch milliseconds. The
/// rest is random (at least 72 bits). Upper-case digits are accepted and converted to lower case.
public struct SID<Kind: SIDKind>: Hashable, Sendable, Comparable, CustomStringConvertible, Codable {
    public let rawValue: String

    /// Nil when `text` is not the kind's two letters and 32 hexadecimal digits.
    public init?(_ text: some StringProtocol) {
        guard let lowered = SIDFormat.canonical(text, prefix: Kind.prefix) else { return nil }
        rawValue = lowered
    }

    /// Like the generic initializer, but faster, because it runs for every record.
    public init?(_ text: String) {
        guard let lowered = SIDFormat.canonical(text, prefix: Kind.prefix) else { return nil }
        rawValue = lowered
    }

    /// Two letters and the digits of 16 bytes, as ``bytes`` gives them.
    public init(bytes: some Sequence<UInt8>) {
        rawValue = SIDFormat.text(Kind.prefix, Array(bytes.prefix(16)))
    }

    /// Like the generic initializer, but faster, because it runs for every new identifier.
    public init(bytes: [UInt8]) {
        rawValue = SIDFormat.text(Kind.prefix, bytes)
    }

    /// A new identifier.
    /// - Parameters:
    ///   - variant: the first two digits: by convention `03` for push factors and challenges, `02` for TOTP.
    ///   - nowMs: epoch milliseconds.
    public static func generate(variant: UInt8? = nil, nowMs: Int64) -> SID {
        var generator = SystemRandomNumberGenerator()
        return generate(variant: variant, nowMs: nowMs, using: &generator)
    }

    /// The same with a random number generator of the caller.
    public static func generate(
        variant: UInt8? = nil, nowMs: Int64, using generator: inout some RandomNumberGenerator
    ) -> SID {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(24)
        if let variant { bytes.append(variant) }
        for shift in stride(from: 40, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: nowMs >> Int64(shift)))
        }
        // Each random number is a system call, so eight bytes are drawn at once.
        while bytes.count < 16 {
            withUnsafeBytes(of: generator.next()) { bytes.append(contentsOf: $0) }
        }
        return SID(bytes: bytes)
    }

    /// The lowest identifier of this variant that ``generate(variant:nowMs:)`` can create at that time or later.
    /// - Parameter nowMs: epoch milliseconds; a time before 1970 counts as 1970.
    public static func lowest(variant: UInt8? = nil, nowMs: Int64) -> SID {
        let nowMs = max(0, nowMs)
        var bytes = variant.map { [$0] } ?? []
        bytes += stride(from: 40, through: 0, by: -8).map { UInt8(truncatingIfNeeded: nowMs >> Int64($0)) }
        return SID(bytes: bytes + [UInt8](repeating: 0, count: 16 - bytes.count))
    }

    /// The 16 bytes of the digits.
    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16)
        SIDFormat.appendBytes(of: rawValue, to: &bytes)
        return bytes
    }

    func appendBytes(to bytes: inout [UInt8]) { SIDFormat.appendBytes(of: rawValue, to: &bytes) }

    public var description: String { rawValue }

    public static func < (lhs: SID, rhs: SID) -> Bool { lhs.rawValue < rhs.rawValue }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let sid = SID(text) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "expected \(Kind.prefix) and 32 hexadecimal digits")
        }
        self = sid
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

/// The form of all identifiers: two letters and 32 hexadecimal digits, of any kind and in any case.
public enum SIDForm {
    public static func matches(_ text: some StringProtocol) -> Bool {
        let utf8 = text.utf8
        return utf8.count == 34
            && utf8.prefix(2).allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) }
            && utf8.dropFirst(2).allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
            }
    }
}

/// The form shared by all kinds.
enum SIDFormat {
    /// Returns the text itself, without a copy, when it is already canonical.
    static func canonical(_ text: String, prefix: String) -> String? {
        var text = text
        let isCanonical = text.withUTF8 { bytes in
            guard bytes.count == 34, bytes.prefix(2).elementsEqual(prefix.utf8) else { return false }
            for byte in bytes.dropFirst(2) {
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): continue
                default: return false
                }
            }
            return true
        }
        return isCanonical ? text : canonical(Substring(text), prefix: prefix)
    }

    static func canonical(_ text: some StringProtocol, prefix: String) -> String? {
        let utf8 = text.utf8
        guard utf8.count == 34, utf8.starts(with: prefix.utf8) else { return nil }
        var needsLowering = false
        for byte in utf8.dropFirst(2) {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): break
            case UInt8(ascii: "A")...UInt8(ascii: "F"): needsLowering = true
            default: return nil
            }
        }
        return needsLowering ? prefix + text.dropFirst(2).lowercased() : String(text)
    }

    /// The prefix and the digits of the first 16 bytes.
    static func text(_ prefix: String, _ bytes: [UInt8]) -> String {
        String(unsafeUninitializedCapacity: 34) { text in
            var count = text.update(fromContentsOf: prefix.utf8.prefix(2))
            for byte in bytes.prefix(16) {
                text[count] = digit(byte >> 4)
                text[count + 1] = digit(byte & 15)
                count += 2
            }
            precondition(count == 34, "a SID is made of 16 bytes")
            return count
        }
    }

    static func appendBytes(of text: String, to bytes: inout [UInt8]) {
        var text = text
        text.withUTF8 { digits in
            func value(_ index: Int) -> UInt8 {
                let digit = digits[index]
                return digit <= UInt8(ascii: "9") ? digit - UInt8(ascii: "0") : digit - UInt8(ascii: "a") + 10
            }
            for index in stride(from: 2, to: digits.count, by: 2) {
                bytes.append(value(index) << 4 | value(index + 1))
            }
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}

public enum AccountKind: SIDKind { public static let prefix = "AC" }
public enum ServiceKind: SIDKind { public static let prefix = "VA" }
public enum EntityKind: SIDKind { public static let prefix = "YE" }
public enum FactorKind: SIDKind { public static let prefix = "YF" }
public enum ChallengeKind: SIDKind { public static let prefix = "YC" }
public enum AccessTokenKind: SIDKind { public static let prefix = "YK" }
public enum WebhookKind: SIDKind { public static let prefix = "YW" }
public enum NotificationKind: SIDKind { public static let prefix = "NT" }
public enum CredentialKind: SIDKind { public static let prefix = "CR" }
public enum APIKeyKind: SIDKind { public static let prefix = "SK" }
public enum AlertKind: SIDKind { public static let prefix = "NO" }

public typealias AccountSID = SID<AccountKind>
public typealias ServiceSID = SID<ServiceKind>
public typealias EntitySID = SID<EntityKind>
public typealias FactorSID = SID<FactorKind>
public typealias ChallengeSID = SID<ChallengeKind>
public typealias AccessTokenSID = SID<AccessTokenKind>
public typealias WebhookSID = SID<WebhookKind>
public typealias NotificationSID = SID<NotificationKind>
public typealias CredentialSID = SID<CredentialKind>
public typealias APIKeySID = SID<APIKeyKind>
public typealias AlertSID = SID<AlertKind>

extension ChallengeSID {
    /// The variant of every challenge's SID.
    public static let variant: UInt8 = 0x03
}
