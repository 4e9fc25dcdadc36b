/// Counts wrong numbers with correct signatures, of one factor or one identity, within a span. Without this limit, a
/// person who holds a device and can cause challenges could try all numbers. A pure value; the store keeps ``text``.
/// Guesses count also while the identity is quiet, and a correct number does not reset them.
package struct NumberGuesses: Sendable, Hashable {
    /// Times of the guesses in epoch milliseconds, oldest first.
    private(set) var timesMs: [Int64]

    package init(_ text: String) { timesMs = text.split(separator: ",").compactMap { Int64($0) } }

    /// The times, separated by commas.
    package var text: String { timesMs.map { String($0) }.joined(separator: ",") }

    /// Time until which no number is accepted; nil: numbers are accepted.
    /// - Parameter limit: the maximum number of guesses; 0: no limit.
    func closedUntilMs(limit: Int, windowMs: Int64, nowMs: Int64) -> Int64? {
        let recent = recent(windowMs: windowMs, nowMs: nowMs)
        guard limit > 0, recent.count >= limit else { return nil }
        return recent[recent.count - limit] + windowMs
    }

    /// - Parameter limit: the number of guesses to keep. No more are accepted within the span.
    mutating func add(limit: Int, windowMs: Int64, nowMs: Int64) {
        timesMs = Array((recent(windowMs: windowMs, nowMs: nowMs) + [nowMs]).suffix(limit))
    }

    /// The guesses within the span. A clock that was set back does not block numbers for longer than the span.
    func recent(windowMs: Int64, nowMs: Int64) -> [Int64] {
        timesMs.filter { time in
            let age = nowMs.subtractingReportingOverflow(time)
            return !age.overflow && age.partialValue < windowMs && age.partialValue > -windowMs
        }.map { min($0, nowMs) }
    }
}
