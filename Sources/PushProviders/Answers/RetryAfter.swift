/// The header `Retry-After`: RFC 9110 section 10.2.3.
package enum RetryAfter {
    /// Milliseconds from now: from seconds, or from an IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`). Nil when it is absent or
    /// makes no sense; 0 when the time has passed. At most a day.
    package static func milliseconds(_ value: [UInt8], nowMs: Int64) -> Int64? {
        let text = String(decoding: value, as: UTF8.self)
        if let seconds = Int64(text) { return seconds < 0 ? nil : min(seconds, 86_400) * 1000 }
        guard let atMs = imfFixdate(text) else { return nil }
        return min(max(atMs - nowMs, 0), 86_400_000)
    }

    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    package static func imfFixdate(_ text: String) -> Int64? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let day = Int(parts[1]), let year = Int(parts[3]),
            let month = months.firstIndex(of: String(parts[2])), (1...31).contains(day), (1970...9999).contains(year)
        else { return nil }
        let clock = parts[4].split(separator: ":").map { Int($0) ?? -1 }
        guard clock.count == 3, (0..<24).contains(clock[0]), (0..<60).contains(clock[1]), (0..<61).contains(clock[2])
        else { return nil }
        // Civil date to days, the reverse of `append(rfc3339:)`.
        let shiftedYear = month < 2 ? year - 1 : year
        let era = shiftedYear / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * ((month + 10) % 12) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return Int64(days * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]) * 1000
    }
}
