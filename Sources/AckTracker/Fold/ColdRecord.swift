/// What is needed only when a challenge is pushed again or escalated: identity, text, push tokens. Packed into bytes.
struct ColdRecord: Sendable, Equatable {
    var entity = ""
    var identity = ""
    var message = ""
    var fallbacks: [String] = []
    /// W3C trace context of the creation; empty: none.
    var traceparent = ""
    /// In the order of the challenge's devices.
    var pushTokens: [String] = []

    init() {}

    /// Reads what ``packed()`` made.
    init(packed bytes: [UInt8]) {
        var at = 0
        func count() -> Int {
            var value = 0
            var shift = 0
            while at < bytes.count {
                let byte = bytes[at]
                at += 1
                value |= Int(byte & 127) << shift
                if byte < 128 { break }
                shift += 7
            }
            return value
        }
        func text() -> String {
            let head = count()
            let length = head >> 1
            guard at + length <= bytes.count else { return "" }
            defer { at += length }
            guard head & 1 == 1 else { return String(decoding: bytes[at..<at + length], as: UTF8.self) }
            return String(unsafeUninitializedCapacity: length * 2) { buffer in
                for (index, byte) in bytes[at..<at + length].enumerated() {
                    buffer[index * 2] = Self.digits[Int(byte >> 4)]
                    buffer[index * 2 + 1] = Self.digits[Int(byte & 15)]
                }
                return length * 2
            }
        }
        guard !bytes.isEmpty else { return }
        entity = Self.unsplit(text(), prefix: "YE")
        identity = text()
        message = text()
        traceparent = text()
        fallbacks = (0..<count()).map { _ in text() }
        pushTokens = (0..<count()).map { _ in text() }
    }

    /// Lower-case hexadecimal (SIDs, APNs tokens) takes half its size.
    func packed() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(256)
        func append(_ count: Int) {
            var rest = count
            while rest > 127 {
                bytes.append(UInt8(rest & 127) | 128)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        func append(_ text: String) {
            let utf8 = Array(text.utf8)
            if utf8.count > 2, utf8.count % 2 == 0, let half = Self.halved(utf8) {
                append(half.count << 1 | 1)
                bytes += half
            } else {
                append(utf8.count << 1)
                bytes += utf8
            }
        }
        append(Self.split(entity, prefix: "YE"))
        append(identity)
        append(message)
        append(traceparent)
        append(fallbacks.count)
        for fallback in fallbacks { append(fallback) }
        append(pushTokens.count)
        for token in pushTokens { append(token) }
        // As large as needed and no larger: an array that grew keeps up to as much again in reserve.
        return [UInt8](unsafeUninitializedCapacity: bytes.count) { buffer, count in
            count = bytes.count
            _ = buffer.initialize(fromContentsOf: bytes)
        }
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private static func halved(_ text: [UInt8]) -> [UInt8]? {
        var half: [UInt8] = []
        half.reserveCapacity(text.count / 2)
        for index in stride(from: 0, to: text.count, by: 2) {
            guard let high = digit(text[index]), let low = digit(text[index + 1]) else { return nil }
            half.append(high << 4 | low)
        }
        return half
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    /// A SID without its letters is hexadecimal; anything else stays as it is.
    private static func split(_ text: String, prefix: String) -> String {
        text.utf8.count == 34 && text.hasPrefix(prefix) ? String(text.dropFirst(2)) : text
    }

    private static func unsplit(_ text: String, prefix: String) -> String {
        text.utf8.count == 32 ? prefix + text : text
    }
}
