import TestSupport

/// Spoils protobuf values: field by field where they can be read, so that what comes out is mostly a message with an
/// odd number in it.
extension SeededGenerator {
    mutating func spoiled(_ bytes: [UInt8], nowMs: Int64, depth: Int = 0) -> [UInt8] {
        var out: [UInt8] = []
        var at = 0
        while at < bytes.count {
            guard let key = Self.varint(bytes, &at), key >> 3 > 0, key >> 3 < 1000 else { return bytes }
            var field: [UInt8] = []
            Self.append(key, to: &field)
            switch key & 7 {
            case 0:
                guard let value = Self.varint(bytes, &at) else { return bytes }
                Self.append(chance(5) ? UInt64(bitPattern: number(nowMs: nowMs)) : value, to: &field)
            case 2:
                guard let length = Self.varint(bytes, &at), length <= UInt64(bytes.count - at) else { return bytes }
                var content = Array(bytes[at..<at + Int(length)])
                at += Int(length)
                if depth < 4, chance(2) { content = spoiled(content, nowMs: nowMs, depth: depth + 1) }
                if chance(40) { content = broken(content) }
                if chance(60) {
                    content = Array(pick(["", "c", "t1", "t0", "t65535", "t65536", "n:x", "x\u{0}y"]).utf8)
                }
                Self.append(UInt64(content.count), to: &field)
                field += content
            default: return bytes
            }
            if chance(60) { continue }
            out += field
            if chance(60) { out += field }
        }
        // A number that was not there.
        if chance(6) {
            Self.append(UInt64.random(in: 1...20, using: &self) << 3, to: &out)
            Self.append(UInt64(bitPattern: number(nowMs: nowMs)), to: &out)
        }
        return out
    }

    private static func varint(_ bytes: [UInt8], _ at: inout Int) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard at < bytes.count else { return nil }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 127) << shift
            if byte < 128 { return value }
        }
        return nil
    }

    private static func append(_ value: UInt64, to out: inout [UInt8]) {
        var rest = value
        while rest > 127 {
            out.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        out.append(UInt8(rest))
    }
}
