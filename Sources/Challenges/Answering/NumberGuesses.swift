/// Wrong numbers under right signatures, of one factor or one identity, within a span: whoever holds a device and can have challenges
/// made must not try numbers for ever. Pure: the store keeps ``text``.
///
/// Guesses count whether the identity is quiet or not, and a right number takes none of them back.
package struct NumberGuesses: Sendable, Hashable {
    /// Epoch milliseconds, oldest first.
    private(set) var timesMs: [Int64]

    package init(_ text: String) { timesMs = text.split(separator: ",").compactMap { Int64($0) } }

    /// Times with commas between.
    package var text: String { timesMs.map { String($0) }.joined(separator: ",") }

    /// Until when no number is taken; nil: one is.
    /// - Parameter limit: 0: any number of guesses.
    func closedUntilMs(limit: Int, windowMs: Int64, nowMs: Int64) -> Int64? {
        let recent = recent(windowMs: windowMs, nowMs: nowMs)
        guard limit > 0, recent.count >= limit else { return nil }
        return recent[recent.count - limit] + windowMs
    }

    /// - Parameter limit: as many are kept, for more are not taken within the span.
    mutating func add(limit: Int, windowMs: Int64, nowMs: Int64) {
        timesMs = Array((recent(windowMs: windowMs, nowMs: nowMs) + [nowMs]).suffix(limit))
    }

    /// A clock that was set back closes nothing for longer than the span.
    private func recent(windowMs: Int64, nowMs: Int64) -> [Int64] {
        timesMs.filter { time in
            let age = nowMs.subtractingReportingOverflow(time)
            return !age.overflow && age.partialValue < windowMs && age.partialValue > -windowMs
        }.map { min($0, nowMs) }
    }
}
