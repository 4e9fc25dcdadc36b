import Crypto
import Wire

/// Signs and checks the records of every topic except the entrances. The MAC is HMAC-SHA256 under `BECKON_RECORD_KEYS`
/// over topic, key, content type and value, each preceded by its length. A record without a valid MAC counts as forged:
/// it goes to `dead-letters` and has no other effect.
public struct RecordAuthenticator: Sendable {
    /// The header that carries `<key id>:<base64 of 32 bytes>`.
    public static let headerName = "beckon-mac"

    /// A key whose pads are already hashed, which is half of the work of an HMAC over a short record.
    private struct Prepared: Sendable {
        let id: [UInt8]
        let hmac: HMAC<SHA256>
    }

    private let keys: [Prepared]

    public init(keys: KeyRing) {
        self.keys = keys.keys.map { Prepared(id: Array($0.id.utf8), hmac: HMAC<SHA256>(key: $0.material)) }
    }

    /// The value of the header for a record.
    public func mac(topic: String, key: [UInt8], contentType: ContentType, value: [UInt8]) -> [UInt8] {
        let text = Self.code(
            keys[0], topic: topic, key: key, contentType: Array(contentType.rawValue.utf8), value: value)
        return keys[0].id + [UInt8(ascii: ":")] + text
    }

    /// The key id in `mac`, when this process does not have the key. The record may be genuine and must wait for its
    /// key. Nil when this process has the key, or when the header does not have the form of a MAC; `isValid` then
    /// decides.
    public func unknownKeyID(mac: [UInt8]?) -> String? {
        guard let mac, let colon = mac.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        let id = mac[..<colon]
        guard !keys.contains(where: { $0.id.elementsEqual(id) }), KeyRing.isKeyID(id),
            mac.count - colon - 1 == Self.codeLength
        else { return nil }
        return String(decoding: id, as: UTF8.self)
    }

    /// 32 bytes in base64.
    private static let codeLength = 44

    /// True when a holder of the keys made `mac` for exactly these bytes. The comparison takes constant time.
    public func isValid(mac: [UInt8]?, topic: String, key: [UInt8], contentType: String, value: [UInt8]) -> Bool {
        isValid(mac: mac, topic: topic, key: key, contentType: Array(contentType.utf8), value: value)
    }

    /// The same with the bytes of the header `content-type`.
    public func isValid(mac: [UInt8]?, topic: String, key: [UInt8], contentType: [UInt8], value: [UInt8]) -> Bool {
        guard let mac, let colon = mac.firstIndex(of: UInt8(ascii: ":")),
            let ringKey = keys.first(where: { $0.id.elementsEqual(mac[..<colon]) })
        else { return false }
        let given = mac[(colon + 1)...]
        let expected = Self.code(ringKey, topic: topic, key: key, contentType: contentType, value: value)
        return HMACComparison.equal(given, expected)
    }

    /// The MAC in base64.
    private static func code(
        _ key: Prepared, topic: String, key recordKey: [UInt8], contentType: [UInt8], value: [UInt8]
    ) -> [UInt8] {
        var hmac = key.hmac
        hmac.update(data: message(topic: topic, key: recordKey, contentType: contentType, value: value))
        return hmac.finalize().withUnsafeBytes { Base64.encodedBytes($0) }
    }

    private static func message(topic: String, key: [UInt8], contentType: [UInt8], value: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16 + topic.utf8.count + key.count + contentType.count + value.count)
        func append(_ part: some Collection<UInt8>) {
            let count = UInt32(part.count)
            bytes.append(UInt8(truncatingIfNeeded: count >> 24))
            bytes.append(UInt8(truncatingIfNeeded: count >> 16))
            bytes.append(UInt8(truncatingIfNeeded: count >> 8))
            bytes.append(UInt8(truncatingIfNeeded: count))
            bytes.append(contentsOf: part)
        }
        append(topic.utf8)
        append(key)
        append(contentType)
        append(value)
        return bytes
    }
}
