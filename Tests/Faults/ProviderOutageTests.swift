import ChallengeModel
import Foundation
import Simulators
import TestSupport
import Testing

/// A provider out of order for a while, seen from outside: a dispatcher and an ack tracker as processes, the other
/// provider healthy. `BECKON_OUTAGE_SECONDS` makes it as long as one likes (`scripts/outage`), and only then it judges
/// rates and times: without it there are a few seconds on a machine that others use, and what counts is order and
/// number. The rates are in `ReturnRowTests` too, by a clock of their own.
@Suite("A provider is out of order", .timeLimit(.minutes(20)))
struct ProviderOutageTests {
    static let seconds = ProcessInfo.processInfo.environment["BECKON_OUTAGE_SECONDS"].flatMap { Int($0) } ?? 6
    static let isLong = seconds >= 30
    /// Of each provider.
    static let perSecond = 40
    /// Most of what piles up in an outage has expired before it ends.
    static let shortLifeMs: Int64 = isLong ? 20_000 : 12_000
    /// Nothing of it has.
    static let longLifeMs: Int64 = 300_000

    /// What the provider's log says, by the second.
    private struct Book {
        var pushes: [PushRecord] = []

        func perSecond(_ provider: SimulatedProvider, fromMs: Int64, toMs: Int64) -> [Int] {
            guard toMs > fromMs else { return [] }
            var counts = [Int](repeating: 0, count: Int((toMs - fromMs) / 1000) + 1)
            for push in pushes where push.provider == provider && (fromMs..<toMs).contains(push.atMs) {
                counts[Int((push.atMs - fromMs) / 1000)] += 1
            }
            return counts
        }
    }

    private struct Phases {
        var beganMs: Int64 = 0
        var brokeMs: Int64 = 0
        var mendedMs: Int64 = 0
        var endedMs: Int64 = 0
    }

    /// Feeds both providers throughout: well, out of order for `seconds`, well again.
    private func run(
        _ stage: Stage, lifeMs: Int64, after: Int, _ fault: @escaping (inout ProviderFaults) -> Void
    ) async throws -> (Phases, Book) {
        _ = try await stage.start(["d1"])
        _ = try stage.cluster.start("tracker", "ack-tracker")
        _ = try await stage.cluster["tracker"]?.ready()
        // Connections, access token, the first of everything.
        try await stage.feed(40, perSecond: 40, lifeMs: lifeMs, attempts: 1, providers: [.apn, .fcm])
        let before = Self.isLong ? 20 : 6
        var phases = Phases()
        phases.beganMs = Stage.nowMs()
        async let fed = stage.feed(
            (before + Self.seconds + after) * Self.perSecond * 2, perSecond: Self.perSecond * 2, lifeMs: lifeMs,
            attempts: 1, providers: [.apn, .fcm])
        var book = Book()
        func follow(_ seconds: Int) async throws {
            let end = ContinuousClock.now + .seconds(seconds)
            while ContinuousClock.now < end {
                book.pushes += try await stage.pushes(after: book.pushes.last)
                try await Task.sleep(until: min(end, .now + .milliseconds(500)), clock: .continuous)
            }
        }
        try await follow(before)
        try await stage.faults(.apn, fault)
        phases.brokeMs = Stage.nowMs()
        try await follow(Self.seconds)
        try await stage.faults(.apn) { _ in }
        phases.mendedMs = Stage.nowMs()
        try await follow(after)
        _ = try await fed
        phases.endedMs = Stage.nowMs()
        try await follow(2)
        return (phases, book)
    }

    /// From a record's writing to its outcome, of those that were accepted at once; milliseconds.
    private func p99(_ stage: Stage, _ provider: SimulatedProvider, fromMs: Int64, toMs: Int64) throws -> Int64 {
        let fed = stage.challenges
        let times = try stage.outcomes().compactMap { outcome -> Int64? in
            guard outcome.disposition == .accepted, outcome.dispatchID == "c", let fact = fed[outcome.challengeSid],
                fact.provider == provider, (fromMs..<toMs).contains(fact.atMs)
            else { return nil }
            return outcome.atMs - fact.atMs
        }.sorted()
        return times.isEmpty ? .max : times[times.count * 99 / 100]
    }

    @Test("APNs hangs: FCM does not notice, APNs is back within seconds, and what has expired costs no request")
    func hanging() async throws {
        try await Stage.with { stage in
            let (phases, book) = try await run(stage, lifeMs: Self.shortLifeMs, after: Self.isLong ? 25 : 15) {
                $0.neverAnswerShare = 1
            }
            let well = try p99(stage, .fcm, fromMs: phases.beganMs, toMs: phases.brokeMs)
            let meanwhile = try p99(stage, .fcm, fromMs: phases.brokeMs, toMs: phases.mendedMs)
            let fed = stage.challenges
            // The first that came to be after the recovery, and was taken.
            let back = book.pushes.first {
                $0.provider == .apn && $0.fate != .refused && $0.atMs > phases.mendedMs
            }
            let backMs = (back?.atMs ?? .max) - phases.mendedMs
            let counters = try await stage.counters()
            let late = book.pushes.count { push in
                fed[push.challengeSID].map { push.atMs >= $0.expiresAtMs } ?? false
            }
            let outcomes = try stage.outcomes()
            let dropped = outcomes.count { $0.dropReason == .expiredBeforePush }
            print(
                """
                APNs hung for \(Self.seconds) s: FCM's p99 \(well) ms before, \(meanwhile) ms meanwhile; APNs accepted \(backMs) ms \
                after; \(counters.silenced) requests hung, \(late) were late, \(dropped) outcomes say expired; APNs per second since \
                \(book.perSecond(.apn, fromMs: phases.mendedMs, toMs: phases.endedMs))
                """)
            if Self.isLong {
                #expect(meanwhile <= well * 3 / 2 + 10)
                #expect(backMs <= 10_000)
                // Known by the first pushes' deadline, 10 s; from then on a hanging provider is asked by probes.
                #expect(counters.silenced <= Self.perSecond * 15)
            }
            #expect(back != nil, "APNs is used again")
            #expect(late == 0 && counters.afterExpiry == 0)
            #expect(outcomes.allSatisfy { $0.sentAtMs == 0 || $0.sentAtMs < $0.expiresAtMs })
            // Nobody was asked twice: what had been accepted before the fault, and what was written after it, did not
            // hang.
            let before = Set(
                book.pushes.filter { $0.provider == .apn && $0.fate != .refused && $0.atMs < phases.brokeMs }
                    .map(\.challengeSID))
            let exposed = fed.count {
                $0.value.provider == .apn && $0.value.atMs <= phases.mendedMs && !before.contains($0.key)
            }
            #expect(counters.silenced <= exposed, "\(counters.silenced) hung of \(exposed)")
            try await expectWhole(stage)
        }
    }

    @Test("APNs answers 503: never more attempts than pushes, and all of them come to an end when it is over")
    func unavailable() async throws {
        try await Stage.with { stage in
            let (phases, book) = try await run(stage, lifeMs: Self.longLifeMs, after: Self.isLong ? 150 : 20) {
                $0.unavailableForMs = 600_000
            }
            let during = book.perSecond(.apn, fromMs: phases.brokeMs, toMs: phases.mendedMs)
            let since = book.perSecond(.apn, fromMs: phases.mendedMs, toMs: phases.endedMs)
            let back = book.pushes.first {
                $0.provider == .apn && $0.fate != .refused && $0.atMs > phases.mendedMs
            }
            print(
                """
                503 for \(Self.seconds) s at \(Self.perSecond) pushes/s: attempts per second \(during), since then \(since); accepted \
                \((back?.atMs ?? .max) - phases.mendedMs) ms after
                """)
            // An attempt each, however long the circuit was closed.
            let written = stage.challenges.values.count { $0.provider == .apn && $0.atMs <= phases.mendedMs }
            let before = book.pushes.count { $0.provider == .apn && $0.atMs < phases.brokeMs }
            #expect(during.reduce(0, +) <= written - before, "more attempts than pushes")
            if Self.isLong {
                // A second of the log is not a second of the feed.
                #expect((during.max() ?? 0) <= Self.perSecond + Self.perSecond / 2)
                // Half as many again until all is made up for.
                #expect((since.max() ?? .max) <= Self.perSecond * 2, "a rush")
                let row = since.drop { $0 < Self.perSecond }.prefix(60)
                let mean = Double(row.reduce(0, +)) / Double(max(1, row.count)) / Double(Self.perSecond)
                #expect((1.25...1.7).contains(mean), "\(mean) times the usual")
                #expect(since.dropLast().suffix(10).reduce(0, +) <= Self.perSecond * 11, "still not made up for")
            }
            #expect(back != nil)
            try await expectWhole(stage)
        }
    }

    @Test("APNs calls every token bad, as with a wrong environment: rejected, and none is called dead")
    func everyTokenBad() async throws {
        try await Stage.with { stage in
            try await stage.faults(.apn) {
                $0.errorShare = 1
                $0.errorReason = "BadDeviceToken"
            }
            _ = try await stage.start(["d1"])
            let count = Self.perSecond * Self.seconds
            try await stage.feed(count, perSecond: Self.perSecond, lifeMs: Self.shortLifeMs)
            try await expectWhole(stage)
            let outcomes = try stage.outcomes()
            let others = outcomes.filter { $0.disposition != .rejected || $0.reason != "BadDeviceToken" }
            // On a busy machine a push can be late: it ends as expired, or is not answered in time.
            #expect(others.allSatisfy { [.dropped, .unknown, .deferred].contains($0.disposition) }, "\(others)")
            #expect(others.count < count)
            print(
                "\(count) pushes refused as BadDeviceToken: \(outcomes.count { $0.disposition == .rejected }) rejected, 0 dead"
            )
        }
    }

    /// Every challenge has an outcome.
    private func expectWhole(_ stage: Stage) async throws {
        let end = ContinuousClock.now + .seconds(120)
        var missing = stage.challenges.count
        while missing > 0, ContinuousClock.now < end {
            missing = Set(stage.challenges.keys).subtracting(try stage.outcomes().map(\.challengeSid)).count
            try await Task.sleep(for: .milliseconds(250))
        }
        #expect(missing == 0, "challenges without an outcome")
    }
}
