import Wire

/// The header `Retry-After`: RFC 9110 section 10.2.3.
package enum RetryAfter {
    /// Milliseconds from now, read from seconds or from an IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`). Nil when the
    /// header is missing or invalid; 0 when the time has passed. At most a day.
    package static func milliseconds(_ value: [UInt8], nowMs: Int64) -> Int64? {
        let text = String(decoding: value, as: UTF8.self)
        if let seconds = Int64(text) { return seconds < 0 ? nil : min(seconds, 86_400) * 1000 }
        guard let at = Timestamp.epochSeconds(httpDate: text) else { return nil }
        return min(max(at * 1000 - nowMs, 0), 86_400_000)
    }
}
