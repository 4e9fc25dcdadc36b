import Foundation
import Testing

@testable import AckTracker

@Suite("Tracker measurement", .timeLimit(.minutes(5)))
struct TrackerLoadTests {
    @Test("holds what it was asked to, fires what is due while it watches, and prints the fixed face")
    func small() async throws {
        let result = await TrackerLoad.run(open: 1_000, latencyMs: 500, watching: .seconds(3), factsPerSecond: 500)
        #expect(result.open == 1_000)
        #expect(result.replayPerSecond > 0 && result.rssMB > 0 && result.timersFired > 0)
        #expect(result.factsPerSecond > 0)
        let line = String(decoding: try JSONEncoder().encode(result), as: UTF8.self)
        for name in ["open", "rss_mb", "replay_per_second", "timer_p99_ms"] { #expect(line.contains("\"\(name)\"")) }
    }

    /// `BECKON_BENCH_OPEN=100000 swift test --filter TrackerLoadTests` prints the measurement.
    @Test(
        "the measurement, where it is asked for",
        .enabled(if: ProcessInfo.processInfo.environment["BECKON_BENCH_OPEN"] != nil, "BECKON_BENCH_OPEN is not set"))
    func measured() async throws {
        let open = try #require(ProcessInfo.processInfo.environment["BECKON_BENCH_OPEN"].flatMap { Int($0) })
        let result = await TrackerLoad.run(open: open)
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
        #expect(result.open == open)
    }
}
