import Challenges
import Testing

@testable import Producer

@Suite("When the outbox makes a producer unready")
struct OutboxHealthTests {
    private static let begin = ContinuousClock.now

    /// The oldest dispatch was written at 0 ms, and counted so many seconds later.
    private func complaint(countedAt: Int, acknowledgedAt: Int, now: Int, oldestMs: Int64? = 0) -> String? {
        OutboxLimits().complaint(
            OutboxCount(rows: 3, oldestDispatchMs: oldestMs, countedAt: Self.begin + .seconds(countedAt)),
            acknowledgedAt: Self.begin + .seconds(acknowledgedAt), nowMs: Int64(now) * 1000)
    }

    @Test("a dispatch that waits while nothing is acknowledged does")
    func stalled() {
        #expect(complaint(countedAt: 20, acknowledgedAt: 0, now: 20)?.contains("waited for 20 s") == true)
        #expect(complaint(countedAt: 15, acknowledgedAt: 0, now: 15) == nil)
        #expect(complaint(countedAt: 20, acknowledgedAt: 0, now: 20, oldestMs: nil) == nil)
        #expect(complaint(countedAt: 20, acknowledgedAt: 0, now: 20, oldestMs: 15_000) == nil)
    }

    @Test("a dispatch that waits while others are acknowledged does not")
    func others() {
        #expect(complaint(countedAt: 60, acknowledgedAt: 59, now: 60) == nil)
    }

    @Test("an old count does not, when records were acknowledged shortly before it or since: the outbox may be empty")
    func oldCount() {
        #expect(complaint(countedAt: 20, acknowledgedAt: 19, now: 70) == nil)
        #expect(complaint(countedAt: 20, acknowledgedAt: 30, now: 70) == nil)
    }

    @Test("more rows than the limit do, with the number")
    func rows() {
        var limits = OutboxLimits()
        limits.rows = 10
        func complaint(_ rows: Int) -> String? {
            limits.complaint(
                OutboxCount(rows: rows, oldestDispatchMs: nil, countedAt: Self.begin), acknowledgedAt: Self.begin,
                nowMs: 0)
        }
        #expect(complaint(10) == nil)
        #expect(complaint(11)?.contains("11 rows") == true)
    }
}
