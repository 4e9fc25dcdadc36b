import Wire

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
        guard !bytes.isEmpty else { return }
        var reader = PackedReader(bytes)
        entity = Self.unsplit(reader.text(), prefix: "YE")
        identity = reader.text()
        message = reader.text()
        traceparent = reader.text()
        for _ in 0..<reader.count() { fallbacks.append(reader.text()) }
        for _ in 0..<reader.count() { pushTokens.append(reader.text()) }
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
            var text = text
            text.withUTF8 { utf8 in
                if utf8.count > 2, utf8.count % 2 == 0, utf8.allSatisfy({ Self.digit($0) != nil }) {
                    append(utf8.count | 1)
                    for index in stride(from: 0, to: utf8.count, by: 2) {
                        bytes.append((Self.digit(utf8[index]) ?? 0) << 4 | (Self.digit(utf8[index + 1]) ?? 0))
                    }
                } else {
                    append(utf8.count << 1)
                    bytes.append(contentsOf: utf8)
                }
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

    /// Of a lower-case digit only: packed text comes back in lower case.
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

/// Reads counts and texts one after the other. What does not fit reads as nothing.
private struct PackedReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func count() -> Int {
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

    mutating func text() -> String {
        let head = count()
        let length = head >> 1
        guard at + length <= bytes.count else { return "" }
        let start = at
        at += length
        let bytes = bytes
        guard head & 1 == 1 else { return String(decoding: bytes[start..<start + length], as: UTF8.self) }
        return String(unsafeUninitializedCapacity: length * 2) { buffer in
            for index in 0..<length {
                let byte = bytes[start + index]
                buffer[index * 2] = Hexadecimal.digit(byte >> 4)
                buffer[index * 2 + 1] = Hexadecimal.digit(byte)
            }
            return length * 2
        }
    }
}
