import Wire

/// Writes JSON directly into the body of a request. Keys and structure come from this code, so only string values are
/// escaped.
package struct PayloadWriter {
    package let request: PushRequest

    package init(request: PushRequest) { self.request = request }

    package func raw(_ text: StaticString) { request.append(text) }

    /// Writes a string with its quotes.
    package func string(_ value: String) {
        request.append(UInt8(ascii: "\""))
        var value = value
        value.withUTF8 { bytes in JSONText.escape(bytes) { request.append($0) } }
        request.append(UInt8(ascii: "\""))
    }

    package func number(_ value: Int64) { request.append(decimal: value) }
}

extension PushRequest {
    /// Writes a number in decimal digits, with its sign.
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

    /// Writes a time as RFC 3339 in whole seconds, UTC: `2026-05-01T12:00:00Z`.
    package func append(rfc3339 epochMs: Int64) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { text in
            let count = Timestamp.write(rfc3339: epochMs, hasMilliseconds: false, to: text)
            append(UnsafeBufferPointer(rebasing: text[..<count]))
        }
    }
}
