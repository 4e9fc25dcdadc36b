import Testing

@Suite("The ledger of repeats")
struct RepeatLedgerTests {
    /// The first worker from 1000 on, the second from 5000 on; `outcomes` ended at 10 when the second began.
    private func judge(
        firstEnd: LaneLife.End, acceptedAtMs: [Int64] = [2000, 6000], _ recorded: [RepeatLedger.Recorded]
    ) -> RepeatLedger {
        var first = LaneLife(worker: "d1", writer: "w1", partition: 3, outcomesEnd: 0, fromMs: 1000)
        first.end = firstEnd
        let second = LaneLife(worker: "d2", writer: "w2", partition: 3, outcomesEnd: 10, fromMs: 5000)
        var ledger = RepeatLedger()
        ledger.judge("YC1 c visible", acceptedAtMs: acceptedAtMs, recorded: recorded, lives: [first, second])
        return ledger
    }

    private func done(_ offset: Int64, by writer: String) -> RepeatLedger.Recorded {
        RepeatLedger.Recorded(offset: offset, writer: writer, isDone: true)
    }

    private func drained(_ offset: Int64, by writer: String) -> RepeatLedger.Recorded {
        RepeatLedger.Recorded(offset: offset, writer: writer, isDone: false)
    }

    @Test("whose outcome never came to the log may be pushed again", arguments: [LaneLife.End.killed, .lost, .open])
    func unrecorded(_ end: LaneLife.End) {
        let ledger = judge(firstEnd: end, [done(12, by: "w2")])
        #expect(ledger.unexplained == [] && ledger.explained == [end.rawValue: 1])
    }

    @Test("what came to the log after the next one had begun could not be known to it")
    func late() {
        #expect(judge(firstEnd: .frozen, [done(11, by: "w1"), done(12, by: "w2")]).unexplained == [])
    }

    @Test(
        "what a predecessor had recorded is never pushed again, whatever became of it",
        arguments: [LaneLife.End.whole, .killed, .lost, .open, .frozen])
    func recorded(_ end: LaneLife.End) {
        #expect(judge(firstEnd: end, [done(9, by: "w1"), done(12, by: "w2")]).unexplained.count == 1)
        // Also when the second died before it could record anything.
        #expect(judge(firstEnd: end, [done(9, by: "w1")]).unexplained.count == 1)
    }

    @Test("a drain that was not long enough says so in the outcome; without that a hand-over repeats nothing")
    func drain() {
        let ledger = judge(firstEnd: .whole, [drained(9, by: "w1"), done(12, by: "w2")])
        #expect(ledger.unexplained == [] && ledger.count == 1)
        #expect(judge(firstEnd: .whole, [done(12, by: "w2")]).unexplained.count == 1)
    }

    @Test("one that served all the time has no excuse, and one end excuses one repeat")
    func once() {
        #expect(judge(firstEnd: .killed, acceptedAtMs: [2000, 3000], [done(5, by: "w1")]).unexplained.count == 1)
        #expect(judge(firstEnd: .whole, acceptedAtMs: [6000, 7000], [done(12, by: "w2")]).unexplained.count == 1)
        let thrice = judge(firstEnd: .killed, acceptedAtMs: [2000, 6000, 7000], [done(12, by: "w2")])
        #expect(thrice.unexplained.count == 1 && thrice.count == 2)
    }

    @Test("a worker's log says what it served and how each time ended")
    func log() {
        func line(_ text: String, _ partition: Int, _ ms: Int, _ more: String = "") -> String {
            "2026-11-28T18:10:13+0000 debug dispatcher: at-ms=\(ms) \(more)partition=\(partition) writer=ab-\(partition) "
                + "[DispatcherWorker] \(text)"
        }
        let log = [
            line("a partition is served", 1, 100, "outcomes=7 "), line("a partition is served", 2, 110),
            line("a partition is left", 1, 200), line("a partition is left with work open", 2, 210),
            "… partitions=8 [DispatcherWorker] partitions handed over", line("a partition is served", 1, 300),
            line("a partition is left", 1, 400), "… partitions=4 [DispatcherWorker] partitions lost",
            line("a partition is served", 3, 500),
        ].joined(separator: "\n")
        let lives = LaneLife.all(of: "d1", log: log, [])
        #expect(lives.map(\.partition) == [1, 2, 1, 3] && lives.map(\.end) == [.whole, .open, .lost, .whole])
        #expect(lives[0].outcomesEnd == 7 && lives[0].writer == "ab-1" && lives[0].fromMs == 100)
        let killed = Disturbance(kind: .killed, worker: "d1", fromMs: 600, toMs: 600)
        #expect(LaneLife.all(of: "d1", log: log, [killed]).map(\.end) == [.whole, .open, .lost, .killed])
        let frozen = Disturbance(kind: .frozen, worker: "d1", fromMs: 350, toMs: 600)
        #expect(LaneLife.all(of: "d1", log: log, [frozen]).map(\.end) == [.whole, .open, .frozen, .frozen])
    }
}
