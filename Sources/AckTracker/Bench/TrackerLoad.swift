import ChallengeModel
import Foundation
import KafkaClient
import KafkaGroup
import ServiceSupport
import Synchronization
import Wire

/// The tracker's own work without a broker: many challenges held, the replay that builds them, and timers in real time
/// while facts arrive. For `beckon bench tracker`.
public enum TrackerLoad {
    /// One JSON line of the measurement.
    public struct Result: Sendable, Codable {
        /// Challenges held: one device, 64-byte message, five-minute life.
        public var open = 0
        /// Resident memory of the process with all of them held, in MiB.
        public var rssMB = 0.0
        /// Records checked, decoded and folded per second, on all cores: a dispatch and an outcome per challenge.
        public var replayPerSecond = 0.0
        /// CPU of the process, user and system, per record of the replay, in microseconds.
        public var cpuMicrosecondsPerRecord = 0.0
        /// 50th and 99th percentile from due to decided and signed, in milliseconds, while the others are held.
        public var timerP50MS = 0.0
        public var timerP99MS = 0.0
        /// Timers that fired while we watched.
        public var timersFired = 0
        /// Facts that arrived per second meanwhile: dispatches, outcomes and receipts in turn.
        public var factsPerSecond = 0.0

        enum CodingKeys: String, CodingKey {
            case open
            case rssMB = "rss_mb"
            case replayPerSecond = "replay_per_second"
            case cpuMicrosecondsPerRecord = "cpu_us_per_record"
            case timerP50MS = "timer_p50_ms"
            case timerP99MS = "timer_p99_ms"
            case timersFired = "timers_fired"
            case factsPerSecond = "facts_per_second"
        }
    }

    static let partitions = 12
    /// Challenges that come due while we watch; the others wait longer.
    private static let timersWatched = 20_000

    /// Holds `open` challenges, then watches timers for twelve seconds.
    /// - Parameters:
    ///   - open: 1 to 10,000,000. A million takes about half a gigabyte and some tens of seconds.
    ///   - factsPerSecond: what arrives while timers are watched.
    public static func run(open: Int, factsPerSecond: Int = 20_000) async -> Result {
        await run(open: open, latencyMs: 8_000, watching: .seconds(12), factsPerSecond: factsPerSecond)
    }

    /// - Parameter latencyMs: of the challenges whose timers are watched.
    @concurrent
    static func run(open: Int, latencyMs: UInt32, watching: Duration, factsPerSecond: Int) async -> Result {
        let load = TrackerLoadRecords()
        let reader = RecordReader(intake: RecordIntake(signer: load.signer, partitions: partitions))
        let clock = TrackerClock()
        let owners = (0..<partitions).map { number in
            let owner = TrackedPartition(
                number: Int32(number), policy: TrackerPolicy(), start: Positions(),
                newsFrom: Positions(.max, .max, 0, 0), leadMs: 60_000, at: clock.now())
            owner.begin(at: clock.now())
            return owner
        }
        var result = Result()
        var (replaySeconds, cpuSeconds) = (0.0, 0.0)
        let dueEvery = max(1, open / timersWatched)
        for first in stride(from: 0, to: open, by: 6_000) {
            let feed = await load.made(first..<min(open, first + 6_000)) { $0 % dueEvery == 0 ? latencyMs : 1_200_000 }
            let (start, cpuStart) = (ContinuousClock.now, processSeconds())
            await withDiscardingTaskGroup { group in
                for (owner, lists) in zip(owners, feed) {
                    group.addTask {
                        for topic in 0..<2 {
                            _ = owner.absorb(
                                topic, lists[topic].map { reader.read($0, topic: topic).0 }, at: clock.now())
                        }
                    }
                }
            }
            replaySeconds += (ContinuousClock.now - start).inSeconds
            cpuSeconds += processSeconds() - cpuStart
        }
        result.replayPerSecond = (Double(2 * open) / max(replaySeconds, 1e-6)).rounded()
        result.cpuMicrosecondsPerRecord = (cpuSeconds * 1e8 / Double(2 * open)).rounded() / 100
        let delays = await withTaskGroup(of: [Int64].self) { group in
            // The ticker runs while the partitions come to their ends, as it does in the service.
            group.addTask { await watch(owners, load.signer, clock) }
            await withDiscardingTaskGroup { ends in
                for owner in owners {
                    ends.addTask {
                        for topic in Positions.indices { _ = owner.absorb(topic, [.end(0)], at: clock.now()) }
                    }
                }
            }
            result.open = owners.reduce(0) { $0 + $1.gauges(at: clock.now()).held }
            result.rssMB = (residentMB() * 10).rounded() / 10
            let startedAt = ContinuousClock.now
            let facts = await arrive(load, owners, reader, clock, factsPerSecond, until: startedAt + watching)
            let seconds = (ContinuousClock.now - startedAt).inSeconds
            result.factsPerSecond = (Double(facts) / max(seconds, 1e-6)).rounded()
            group.cancelAll()
            return (await group.next() ?? []).sorted()
        }
        result.timersFired = delays.count
        if !delays.isEmpty {
            result.timerP50MS = Double(delays[delays.count / 2])
            result.timerP99MS = Double(delays[min(delays.count - 1, delays.count * 99 / 100)])
        }
        return result
    }

    /// Runs the ticker's loop until cancelled, with every barrier reached at once and every decision made a signed
    /// record.
    @concurrent
    private static func watch(
        _ owners: [TrackedPartition], _ signer: RecordSigner, _ clock: TrackerClock
    ) async -> [Int64] {
        var delays: [Int64] = []
        var committed = ContinuousClock.now
        while (try? await Task.sleep(for: .milliseconds(10))) != nil {
            for owner in owners {
                _ = owner.collect(at: clock.now(), latencies: nil)
                guard owner.raiseBarrier() else { continue }
                owner.setEnds(Positions())
                for firing in owner.fire(at: clock.now()) {
                    for case .dispatch(let dispatch, _) in firing.actions {
                        var value = ChallengeRecord()
                        value.dispatch = dispatch
                        _ = signer.record(.challenges, key: dispatch.challengeSid, value: value.protobufBytes())
                    }
                    delays.append(clock.now().localMs - firing.dueMs)
                }
            }
            if ContinuousClock.now - committed > .seconds(1) {
                committed = .now
                for owner in owners { _ = owner.checkpoint(at: clock.now()) }
            }
        }
        return delays
    }

    /// Makes facts, reads them as the service does, and makes the events that follow from them.
    /// - Returns: how many arrived.
    @concurrent
    private static func arrive(
        _ load: TrackerLoadRecords, _ owners: [TrackedPartition], _ reader: RecordReader, _ clock: TrackerClock,
        _ perSecond: Int, until end: ContinuousClock.Instant
    ) async -> Int {
        guard perSecond > 0 else { return 0 }
        let start = ContinuousClock.now
        var arrived = 0
        // At least once, however late it is.
        repeat {
            try? await Task.sleep(for: .milliseconds(10))
            let wanted = Int((ContinuousClock.now - start).inSeconds * Double(perSecond))
            while arrived < wanted, arrived == 0 || ContinuousClock.now < end {
                let (partition, records) = load.story(arrived, latencyMs: 8_000)
                for (topic, record) in records.enumerated() {
                    let consequences = owners[partition].absorb(
                        topic, [reader.read(record, topic: topic).0], at: clock.now())
                    for (number, news) in consequences.news {
                        guard let number else { continue }
                        if let event = DerivedEvent.event(news, nowMs: clock.now().wallMs, sequence: 1, partition: 0) {
                            _ = load.signer.record(
                                .events, key: event.subject, value: event.jsonBytes(), contentType: .cloudEvent)
                        }
                        owners[partition].completed(number)
                    }
                }
                arrived += records.count
            }
        } while ContinuousClock.now < end
        return arrived
    }

    private static func residentMB() -> Double {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .ascii) else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
        return pages * Double(sysconf(Int32(_SC_PAGESIZE))) / 1_048_576
    }

    private static func processSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
