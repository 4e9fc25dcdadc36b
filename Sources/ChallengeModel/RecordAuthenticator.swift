import Crypto
import Foundation

/// Signs and checks records on every topic but the entrances: HMAC-SHA256 under `BECKON_RECORD_KEYS` over topic, key,
/// content type and value, each with its length in front. A record without a valid one is forged: it goes to
/// `dead-letters` and nothing follows from it.
public struct RecordAuthenticator: Sendable {
    /// The header that carries `<key id>:<base64 of 32 bytes>`.
    public static let headerName = "beckon-mac"

    private let keys: KeyRing

    public init(keys: KeyRing) {
        self.keys = keys
    }

    /// The header's value for a record.
    public func mac(topic: String, key: [UInt8], contentType: ContentType, value: [UInt8]) -> [UInt8] {
        let code = HMAC<SHA256>.authenticationCode(
            for: Self.message(topic: topic, key: key, contentType: contentType.rawValue, value: value),
            using: keys.first.material)
        return Array((keys.first.id + ":" + Data(code).base64EncodedString()).utf8)
    }

    /// True when `mac` is one that a holder of the keys made for exactly these bytes. Constant time in the code.
    public func isValid(mac: [UInt8]?, topic: String, key: [UInt8], contentType: String, value: [UInt8]) -> Bool {
        guard let mac, let colon = mac.firstIndex(of: UInt8(ascii: ":")) else { return false }
        let id = String(decoding: mac[..<colon], as: UTF8.self)
        guard let ringKey = keys.key(id: id), let code = Data(base64Encoded: Data(mac[(colon + 1)...])) else {
            return false
        }
        return HMAC<SHA256>.isValidAuthenticationCode(
            code, authenticating: Self.message(topic: topic, key: key, contentType: contentType, value: value),
            using: ringKey.material)
    }

    private static func message(topic: String, key: [UInt8], contentType: String, value: [UInt8]) -> Data {
        var data = Data(capacity: 16 + topic.utf8.count + key.count + contentType.utf8.count + value.count)
        data.appendLengthPrefixed(topic.utf8)
        data.appendLengthPrefixed(key)
        data.appendLengthPrefixed(contentType.utf8)
        data.appendLengthPrefixed(value)
        return data
    }
}
