import Testing

@testable import DispatcherWorker

@Suite("A clock that is wrong")
struct ClockWatchTests {
    static let true0: Int64 = 1_790_000_000_000

    /// Steady time runs with true time; this machine's clock is off by so much.
    private func at(_ ms: Int64, off: Int64) -> Moment { Moment(epochMs: Self.true0 + ms + off, steadyMs: 5_000 + ms) }

    @Test(
        "ahead or behind is seen by one new record, and ends the moment the clock is set right",
        arguments: [600_000, -600_000])
    func records(off: Int64) {
        let watch = ClockWatch()
        #expect(watch.isRight(now: at(0, off: off)), "nothing is known")
        watch.read(timestampMs: Self.true0 + 900, appendedAfterSteadyMs: 5_500, now: at(1000, off: off))
        #expect(!watch.isRight(now: at(1000, off: off)))
        let complaint = watch.complaint(now: at(1000, off: off)) ?? ""
        #expect(complaint.contains(off > 0 ? "ahead of" : "behind") && complaint.contains("NTP"), "\(complaint)")
        #expect(watch.isRight(now: at(2000, off: 0)), "set right")
        #expect(!watch.isRight(now: at(3000, off: off)), "and wrong again")
    }

    @Test("records of a backlog, and a process that stood still for minutes, show nothing")
    func backlog() {
        let watch = ClockWatch()
        watch.read(timestampMs: Self.true0 - 3_000_000, appendedAfterSteadyMs: nil, now: at(0, off: 0))
        // Its partition's end was asked for before the process was frozen.
        watch.read(timestampMs: Self.true0 + 1000, appendedAfterSteadyMs: 5_000, now: at(900_000, off: 0))
        #expect(watch.isRight(now: at(900_000, off: 0)))
    }

    @Test("one writer whose clock is wrong among many decides nothing; all of them do")
    func writers() {
        let watch = ClockWatch()
        for index in Int64(0)..<6 {
            let wrong: Int64 = index % 3 == 0 ? -600_000 : 0
            watch.read(
                timestampMs: Self.true0 + index * 100 + wrong, appendedAfterSteadyMs: 5_000 + index * 100,
                now: at(index * 100 + 10, off: 0))
        }
        #expect(watch.isRight(now: at(1000, off: 0)))
        for index in Int64(0)..<8 {
            watch.read(
                timestampMs: Self.true0 + index * 100 - 600_000, appendedAfterSteadyMs: 5_000 + index * 100,
                now: at(index * 100 + 10, off: 0))
        }
        #expect(!watch.isRight(now: at(1000, off: 0)))
    }

    @Test("a provider's Date counts before what writers say, for an hour")
    func provider() {
        let watch = ClockWatch()
        watch.read(timestampMs: Self.true0 - 600_000, appendedAfterSteadyMs: 5_000, now: at(100, off: 0))
        #expect(!watch.isRight(now: at(100, off: 0)))
        watch.heard(dateMs: Self.true0, sentAtMs: Self.true0 + 100, now: at(300, off: 0))
        #expect(watch.isRight(now: at(300, off: 0)))
        #expect(!watch.isRight(now: at(400, off: 90_000)), "our clock was set wrong since")
        #expect(watch.verdict(now: at(3_600_400, off: 0))?.isProviders != true)
    }

    @Test("time stamps that cannot be are no readings", arguments: [Int64.min, -1, 0, 1, .max])
    func implausible(timestampMs: Int64) {
        let watch = ClockWatch()
        watch.read(timestampMs: timestampMs, appendedAfterSteadyMs: 0, now: at(0, off: 0))
        watch.heard(dateMs: timestampMs, sentAtMs: 0, now: at(0, off: 0))
        #expect(watch.verdict(now: at(0, off: 0)) == nil)
    }
}
