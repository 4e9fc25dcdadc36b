/// Writes JSON straight into a request's body. Keys and the shape come from our own code; only strings are escaped.
package struct JSONWriter {
    package let request: PushRequest

    package init(request: PushRequest) { self.request = request }

    package func raw(_ text: StaticString) { request.append(text) }

    /// A string with its quotes. RFC 8259 section 7: quotes, backslash and what is below U+0020 are escaped.
    package func string(_ value: String) {
        request.append(UInt8(ascii: "\""))
        var value = value
        value.withUTF8 { bytes in
            var start = 0
            for index in bytes.indices {
                let byte = bytes[index]
                guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
                request.append(UnsafeBufferPointer(rebasing: bytes[start..<index]))
                escape(byte)
                start = index + 1
            }
            request.append(UnsafeBufferPointer(rebasing: bytes[start...]))
        }
        request.append(UInt8(ascii: "\""))
    }

    /// Bytes that ``string(_:)`` makes of these between its quotes.
    static func size(of bytes: any Collection<UInt8>) -> Int { bytes.reduce(0) { $0 + size(of: $1) } }

    static func size(of byte: UInt8) -> Int {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), 0x0A, 0x0D, 0x09: 2
        case 0..<0x20: 6
        default: 1
        }
    }

    private func escape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): raw("\\\"")
        case UInt8(ascii: "\\"): raw("\\\\")
        case 0x0A: raw("\\n")
        case 0x0D: raw("\\r")
        case 0x09: raw("\\t")
        default:
            raw("\\u00")
            request.append(Self.hex(byte >> 4))
            request.append(Self.hex(byte & 0xF))
        }
    }

    package func number(_ value: Int64) { request.append(decimal: value) }

    private static func hex(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
}

extension PushRequest {
    /// Digits of a number, with its sign.
    package func append(decimal value: Int64) {
        if value < 0 { append(UInt8(ascii: "-")) }
        let magnitude = value.magnitude
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var left = magnitude
            var start = 20
            repeat {
                start -= 1
                digits[start] = UInt8(ascii: "0") + UInt8(left % 10)
                left /= 10
            } while left > 0
            append(UnsafeBufferPointer(rebasing: digits[start...]))
        }
    }

    private func append(twoDigits value: Int) {
        append(UInt8(ascii: "0") + UInt8(value / 10 % 10))
        append(UInt8(ascii: "0") + UInt8(value % 10))
    }

    /// RFC 3339 in whole seconds, UTC: `2026-05-01T12:00:00Z`. Years 0 to 9999.
    package func append(rfc3339 epochMs: Int64) {
        let seconds = min(max(epochMs, -62_135_596_800_000), 253_402_300_799_999)
        var days = Int(seconds / 1000) / 86_400
        var rest = Int(seconds / 1000) % 86_400
        if rest < 0 {
            rest += 86_400
            days -= 1
        }
        // Days to civil date in the Gregorian calendar, counted from 0000-03-01 (Hinnant, "chrono-compatible low-level
        // date algorithms").
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        append(twoDigits: year / 100)
        append(twoDigits: year % 100)
        append(UInt8(ascii: "-"))
        append(twoDigits: month)
        append(UInt8(ascii: "-"))
        append(twoDigits: day)
        append(UInt8(ascii: "T"))
        append(twoDigits: rest / 3600)
        append(UInt8(ascii: ":"))
        append(twoDigits: rest / 60 % 60)
        append(UInt8(ascii: ":"))
        append(twoDigits: rest % 60)
        append(UInt8(ascii: "Z"))
    }
}
