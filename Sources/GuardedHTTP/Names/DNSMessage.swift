/// Questions and answers of RFC 1035, as far as addresses need them.
enum DNSMessage {
    enum RecordType: UInt16, Sendable {
        case a = 1
        case aaaa = 28
    }

    struct Answer: Sendable, Equatable {
        var addresses: [IPAddress] = []
        /// The shortest time to live of what was read, in seconds; nil: there was none.
        var timeToLive: UInt32?
        /// 0 no error, 3 no such name.
        var code: UInt8 = 0
        /// Ask again over TCP.
        var isTruncated = false
    }

    /// - Parameter name: absolute, of checked labels, without the last dot.
    static func question(id: UInt16, name: String, type: RecordType) -> [UInt8] {
        // Recursion desired, one question.
        var bytes: [UInt8] = [UInt8(id >> 8), UInt8(id & 255), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        bytes += encoded(name)
        bytes += [0, UInt8(type.rawValue), 0, 1]
        return bytes
    }

    private static func encoded(_ name: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for label in name.split(separator: ".") {
            bytes.append(UInt8(label.utf8.count))
            bytes += label.utf8
        }
        bytes.append(0)
        return bytes
    }

    /// - Returns: nil when this is not an answer to this very question.
    static func answer(_ bytes: [UInt8], id: UInt16, name: String, type: RecordType) -> Answer? {
        var reader = Reader(bytes: bytes)
        guard reader.number16() == id, let flags = reader.number16(), flags & 0x8000 != 0, reader.number16() == 1,
            let answers = reader.number16(), reader.number16() != nil, reader.number16() != nil,
            let asked = reader.take(encoded(name).count), asked.map(lowered) == encoded(name).map(lowered),
            reader.number16() == type.rawValue, reader.number16() == 1
        else { return nil }
        var answer = Answer(code: UInt8(flags & 15), isTruncated: flags & 0x0200 != 0)
        guard !answer.isTruncated else { return answer }
        for _ in 0..<answers {
            guard reader.skipName(), let kind = reader.number16(), let space = reader.number16(),
                let life = reader.number32(), let length = reader.number16(), let data = reader.take(Int(length))
            else { return nil }
            guard space == 1 else { continue }
            answer.timeToLive = min(answer.timeToLive ?? life, life)
            // Whatever name the address stands beside: the server has followed the aliases, and only addresses count.
            guard kind == type.rawValue else { continue }
            guard data.count == (type == .a ? 4 : 16) else { return nil }
            answer.addresses.append(IPAddress(Array(data)))
        }
        return answer
    }

    private static func lowered(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte + 0x20 : byte }

    private struct Reader {
        let bytes: [UInt8]
        var position = 0

        mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
            guard count <= bytes.count - position else { return nil }
            defer { position += count }
            return bytes[position..<(position + count)]
        }

        mutating func number16() -> UInt16? { take(2).map { $0.reduce(0) { $0 << 8 | UInt16($1) } } }
        mutating func number32() -> UInt32? { take(4).map { $0.reduce(0) { $0 << 8 | UInt32($1) } } }

        /// Labels up to the root, or to a pointer, which is not followed.
        mutating func skipName() -> Bool {
            while let length = take(1)?.first {
                if length == 0 { return true }
                if length & 0xC0 == 0xC0 { return take(1) != nil }
                guard length < 64, take(Int(length)) != nil else { return false }
            }
            return false
        }
    }
}
