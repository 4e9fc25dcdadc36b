/// The header `Retry-After`: RFC 9110, section 10.2.3.
package enum RetryAfter {
    /// Reads whole seconds, or an IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`). Spaces before it are skipped.
    /// - Parameter most: longest wait, above zero. A longer one is read as this.
    /// - Returns: milliseconds from now, 0 when the time has passed; nil for any other text.
    package static func milliseconds(
        _ value: some Collection<UInt8>, nowMs: Int64, most: Duration = .seconds(86_400)
    ) -> Int64? {
        let text = String(decoding: value.drop { $0 == UInt8(ascii: " ") }, as: UTF8.self)
        let mostMs = most.wholeMilliseconds
        if let seconds = Int64(text) { return seconds < 0 ? nil : min(seconds, mostMs / 1000) * 1000 }
        // Between 1970 and 9999: the product cannot overflow.
        guard let at = Timestamp.epochSeconds(httpDate: text) else { return nil }
        let (left, isTooMuch) = (at * 1000).subtractingReportingOverflow(nowMs)
        return isTooMuch ? mostMs : min(max(left, 0), mostMs)
    }
}
