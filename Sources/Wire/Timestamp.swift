#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Converts between epoch milliseconds and the times on the wire: RFC 3339 and the HTTP header `Date`.
/// This is Beckon's own code. Foundation's styles need a `Date` and a style value for each call and return a bridged
/// text, and none of them reads an offset without a colon. `docs/performance.md` has the measurement.
public enum Timestamp {
    /// The valid range of a time from outside, in epoch milliseconds: from 1970 to the end of the year 9999, the last
    /// year of RFC 3339.
    package static let range: ClosedRange<Int64> = 0...253_402_300_799_999
    /// The years 1 to 9999.
    private static let writable: ClosedRange<Int64> = -62_135_596_800_000...253_402_300_799_999

    /// The current time of the system clock in epoch milliseconds.
    public static func nowMs() -> Int64 { milliseconds(CLOCK_REALTIME) }

    /// Milliseconds since an unspecified time in the past. This clock never goes back, and it counts while the machine
    /// sleeps.
    package static func steadyMs() -> Int64 {
        #if os(Linux)
            milliseconds(CLOCK_BOOTTIME)
        #else
            milliseconds(CLOCK_MONOTONIC)
        #endif
    }

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    // MARK: - Writing

    /// `2015-07-30T20:00:00Z`: whole seconds and a literal Z, the only form that the published SDKs parse everywhere.
    /// A time that RFC 3339 cannot write becomes the nearest one that it can.
    package static func rfc3339Seconds(_ epochMs: Int64) -> String {
        String(unsafeUninitializedCapacity: 20) { write(rfc3339: epochMs, hasMilliseconds: false, to: $0) }
    }

    /// `2015-07-30T20:00:00.123Z`. A time that RFC 3339 cannot write becomes the nearest one that it can.
    package static func rfc3339Milliseconds(_ epochMs: Int64) -> String {
        String(unsafeUninitializedCapacity: 24) { write(rfc3339: epochMs, hasMilliseconds: true, to: $0) }
    }

    /// - Parameter output: a buffer of at least 20 bytes, or 24 with milliseconds.
    /// - Returns: the number of bytes that were written.
    package static func write(
        rfc3339 epochMs: Int64, hasMilliseconds: Bool, to output: UnsafeMutableBufferPointer<UInt8>
    ) -> Int {
        let epochMs = min(max(epochMs, writable.lowerBound), writable.upperBound)
        let seconds = epochMs / 1000 - (epochMs % 1000 < 0 ? 1 : 0)
        let time = CivilTime(epochSeconds: seconds)
        func put(_ value: Int, at index: Int) {
            output[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / 10 % 10)
            output[index + 1] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10)
        }
        put(time.year / 100, at: 0)
        put(time.year, at: 2)
        put(time.month, at: 5)
        put(time.day, at: 8)
        put(time.hour, at: 11)
        put(time.minute, at: 14)
        put(time.second, at: 17)
        output[4] = UInt8(ascii: "-")
        output[7] = UInt8(ascii: "-")
        output[10] = UInt8(ascii: "T")
        output[13] = UInt8(ascii: ":")
        output[16] = UInt8(ascii: ":")
        guard hasMilliseconds else {
            output[19] = UInt8(ascii: "Z")
            return 20
        }
        let milliseconds = Int(epochMs - seconds * 1000)
        output[19] = UInt8(ascii: ".")
        output[20] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: milliseconds / 100)
        put(milliseconds, at: 21)
        output[23] = UInt8(ascii: "Z")
        return 24
    }

    private static let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// The header `Date`, an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
    package static func httpDate(epochSeconds: Int64) -> String {
        let time = CivilTime(epochSeconds: epochSeconds)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return "\(days[time.daySince1970(modulo: 7)]), \(two(time.day)) \(months[time.month - 1]) \(time.year) "
            + "\(two(time.hour)):\(two(time.minute)):\(two(time.second)) GMT"
    }

    // MARK: - Reading

    /// Reads a time of RFC 3339, `2015-07-30T20:00:00.123Z` or with an offset; an offset may lack its colon, as in ISO
    /// 8601 and in `%z` of several languages. Digits of the fraction after the third are ignored.
    /// - Returns: nil for any other text, for text after the time, and for a day, hour, minute, second or offset that
    ///   does not exist. A leap second returns nil, because epoch milliseconds have no number for it.
    package static func epochMs(_ text: String) -> Int64? {
        var rest = Array(text.utf8)[...]
        func take(_ bytes: String) -> Bool {
            guard let first = rest.first, bytes.utf8.contains(first) else { return false }
            rest.removeFirst()
            return true
        }
        func number(_ digits: Int, _ range: ClosedRange<Int>) -> Int? {
            guard rest.count >= digits else { return nil }
            var value = 0
            for _ in 0..<digits {
                guard let digit = digit() else { return nil }
                value = value * 10 + digit
            }
            return range.contains(value) ? value : nil
        }
        func digit() -> Int? {
            guard let first = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return nil }
            rest.removeFirst()
            return Int(first - UInt8(ascii: "0"))
        }
        guard let year = number(4, 1...9999), take("-"), let month = number(2, 1...12), take("-"),
            let day = number(2, 1...CivilTime.days(in: month, of: year)), take("Tt"), let hour = number(2, 0...23),
            take(":"), let minute = number(2, 0...59), take(":"), let second = number(2, 0...59)
        else { return nil }
        var milliseconds = 0
        if take(".") {
            var unit = 100
            guard let first = digit() else { return nil }
            milliseconds = first * unit
            while let next = digit() {
                unit /= 10
                milliseconds += next * unit
            }
        }
        var offset = 0
        if !take("Zz") {
            guard let sign = rest.first, take("+-"), let hours = number(2, 0...23) else { return nil }
            _ = take(":")
            guard let minutes = number(2, 0...59) else { return nil }
            offset = (hours * 60 + minutes) * (sign == UInt8(ascii: "-") ? -1 : 1)
        }
        guard rest.isEmpty else { return nil }
        let time = CivilTime(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        return (time.epochSeconds - Int64(offset) * 60) * 1000 + Int64(milliseconds)
    }

    /// The header `Date`, `Sun, 06 Nov 1994 08:49:37 GMT`, as epoch seconds; `UTC` and `+0000` are read as `GMT`.
    /// The two other forms of RFC 9110 are obsolete: no server that Beckon talks to sends them.
    /// - Returns: nil for any other text, and for a time before 1970.
    package static func epochSeconds(httpDate text: String) -> Int64? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT" || parts[5] == "UTC" || parts[5] == "+0000",
            let day = Int(parts[1]), let month = months.firstIndex(where: { $0 == parts[2] }), let year = Int(parts[3]),
            (1970...9999).contains(year), (1...CivilTime.days(in: month + 1, of: year)).contains(day)
        else { return nil }
        let clock = parts[4].split(separator: ":").map { Int($0) ?? -1 }
        guard clock.count == 3, (0..<24).contains(clock[0]), (0..<60).contains(clock[1]), (0...60).contains(clock[2])
        else { return nil }
        return CivilTime(
            year: year, month: month + 1, day: day, hour: clock[0], minute: clock[1], second: clock[2]
        ).epochSeconds
    }
}

/// A date and a time of day in UTC, in the Gregorian calendar. Source: H. Hinnant, "chrono-compatible low-level date
/// algorithms".
private struct CivilTime {
    var year: Int
    /// 1 to 12.
    var month: Int
    /// 1 to 31.
    var day: Int
    var hour: Int
    var minute: Int
    var second: Int
}

extension CivilTime {
    init(epochSeconds: Int64) {
        var days = Int(epochSeconds) / 86_400
        var rest = Int(epochSeconds) % 86_400
        if rest < 0 {
            rest += 86_400
            days -= 1
        }
        // Counted from 0000-03-01.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        self.init(
            year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month: month,
            day: dayOfYear - (153 * shiftedMonth + 2) / 5 + 1, hour: rest / 3600, minute: rest / 60 % 60,
            second: rest % 60)
    }

    var epochSeconds: Int64 { Int64(daysSince1970 * 86_400 + hour * 3600 + minute * 60 + second) }

    func daySince1970(modulo count: Int) -> Int { (daysSince1970 % count + count) % count }

    /// For years from 1.
    private var daysSince1970: Int {
        let year = month <= 2 ? year - 1 : year
        let era = year / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}
