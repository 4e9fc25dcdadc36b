import ChallengeModel
import Foundation
import KafkaClient
import ServiceSupport

/// The tracker's own work without a broker: many challenges held, the replay that builds them, and timers in real time.
/// For `beckon bench tracker`.
public enum TrackerLoad {
    /// One JSON line of the measurement.
    public struct Result: Sendable, Codable {
        /// Challenges held: one device, 64-byte message.
        public let open: Int
        /// Resident memory of the process with all of them held, in MiB.
        public let rssMB: Double
        /// Records checked, decoded and folded per second, on all cores: a dispatch and an outcome per challenge.
        public let replayPerSecond: Double
        /// 99th percentile from due to decided, in milliseconds, while the others are held.
        public let timerP99MS: Double

        enum CodingKeys: String, CodingKey {
            case open
            case rssMB = "rss_mb"
            case replayPerSecond = "replay_per_second"
            case timerP99MS = "timer_p99_ms"
        }
    }

    private static let partitions = 12
    /// Challenges that come due while we watch; the others wait longer.
    private static let timersWatched = 20_000

    /// Holds `open` challenges, then watches timers for twelve seconds.
    /// - Parameter open: 1 to 10,000,000. A million takes about half a gigabyte and some tens of seconds.
    public static func run(open: Int) async -> Result {
        await run(open: open, latencyMs: 8_000, watching: .seconds(12))
    }

    /// - Parameter latencyMs: of the challenges whose timers are watched.
    @concurrent
    static func run(open: Int, latencyMs: UInt32, watching: Duration) async -> Result {
        let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        let reader = RecordReader(signer: signer, partitions: partitions)
        let clock = TrackerClock()
        let owners = (0..<partitions).map { number in
            let owner = TrackedPartition(
                number: Int32(number), policy: TrackerPolicy(), start: Positions(),
                newsFrom: Positions(.max, .max, 0, 0),
                leadMs: 60_000, at: clock.now())
            owner.begin(at: clock.now())
            return owner
        }
        var seconds = 0.0
        var made = 0
        var ends = Array(repeating: Int64(0), count: partitions)
        let dueEvery = max(1, open / timersWatched)
        while made < open {
            var feed = Array(repeating: [(ConsumedRecord, ConsumedRecord)](), count: partitions)
            for index in made..<min(open, made + 6_000) {
                let pair = records(index, latencyMs: index % dueEvery == 0 ? latencyMs : 1_200_000, signer, &ends)
                feed[Int(pair.0.topicPartition.partition)].append(pair)
            }
            made = min(open, made + 6_000)
            let start = ContinuousClock.now
            await withDiscardingTaskGroup { group in
                for (owner, pairs) in zip(owners, feed) {
                    group.addTask {
                        for topic in 0..<2 {
                            let items = pairs.map { reader.read(topic == 0 ? $0.0 : $0.1, topic: topic).0 }
                            _ = owner.absorb(topic, items, at: clock.now())
                        }
                    }
                }
            }
            seconds += Double((ContinuousClock.now - start).microseconds) / 1e6
        }
        for owner in owners {
            for topic in Positions.indices { _ = owner.absorb(topic, [.end(0)], at: clock.now()) }
        }
        let rssMB = residentMB()
        let delays = await watch(owners, clock, watching).sorted()
        let held = owners.reduce(0) { $0 + $1.gauges(at: clock.now()).held }
        return Result(
            open: held, rssMB: rssMB, replayPerSecond: Double(2 * open) / max(seconds, 1e-6),
            timerP99MS: delays.isEmpty ? 0 : Double(delays[min(delays.count - 1, delays.count * 99 / 100)]))
    }

    /// Runs the ticker's loop for a while, with every barrier reached at once.
    private static func watch(_ owners: [TrackedPartition], _ clock: TrackerClock, _ time: Duration) async -> [Int64] {
        var delays: [Int64] = []
        let end = ContinuousClock.now + time
        while ContinuousClock.now < end {
            try? await Task.sleep(for: .milliseconds(10))
            for owner in owners {
                _ = owner.collect(at: clock.now(), latencies: nil)
                guard owner.raiseBarrier() else { continue }
                owner.setEnds(Positions())
                for firing in owner.fire(at: clock.now()) { delays.append(clock.now().localMs - firing.dueMs) }
            }
        }
        return delays
    }

    private static func records(
        _ index: Int, latencyMs: UInt32, _ signer: RecordSigner, _ ends: inout [Int64]
    ) -> (ConsumedRecord, ConsumedRecord) {
        let nowMs = Timestamp.nowMs()
        let sid = ChallengeSID.generate(variant: 3, nowMs: nowMs).rawValue
        let factor = FactorSID.generate(variant: 3, nowMs: nowMs).rawValue
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = "AC" + String(repeating: "1", count: 32)
        dispatch.serviceSid = "VA" + String(repeating: "2", count: 32)
        dispatch.challengeSid = sid
        dispatch.entitySid = EntitySID.generate(nowMs: nowMs).rawValue
        dispatch.identity = "person-\(index)"
        dispatch.dispatchID = "c"
        dispatch.message = "Sign in to the web bank from Lisbon on a new computer (1234567)?".padding(
            toLength: 64, withPad: " ", startingAt: 0)
        dispatch.createdAtMs = nowMs
        dispatch.expiresAtMs = nowMs + 3_600_000
        dispatch.redelivery.expectedLatencyMs = latencyMs
        var target = DispatchTarget()
        target.factorSid = factor
        target.platform = .apn
        target.pushToken = (ChallengeSID.generate(nowMs: nowMs).rawValue + ChallengeSID.generate(nowMs: nowMs).rawValue)
            .replacingOccurrences(of: "YC", with: "")
        target.appID = "com.example.bank"
        target.credentialSid = "CR" + String(repeating: "3", count: 32)
        target.registeredAtMs = nowMs - 1_000_000
        dispatch.targets = [target]
        dispatch.fallbacks = ["sms"]
        var challenge = ChallengeRecord()
        challenge.dispatch = dispatch
        var outcome = OutcomeRecord()
        outcome.push.challengeSid = sid
        outcome.push.factorSid = factor
        outcome.push.dispatchID = "c"
        outcome.push.kind = .visible
        outcome.push.disposition = .accepted
        outcome.push.platform = .apn
        outcome.push.registeredAtMs = target.registeredAtMs
        outcome.push.expiresAtMs = dispatch.expiresAtMs
        outcome.push.atMs = nowMs
        let partition = Murmur2.partition(key: Array(sid.utf8), partitions: partitions)
        let offset = ends[Int(partition)]
        ends[Int(partition)] += 1
        func consumed(_ topic: Topic, _ value: [UInt8]) -> ConsumedRecord {
            let record = signer.record(topic, key: sid, value: value)
            return ConsumedRecord(
                topicPartition: TopicPartition(topic: record.topic, partition: partition), offset: offset,
                timestampMs: nowMs, key: record.key, value: record.value, headers: record.headers)
        }
        return (consumed(.challenges, challenge.protobufBytes()), consumed(.outcomes, outcome.protobufBytes()))
    }

    private static func residentMB() -> Double {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .ascii) else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
        return pages * Double(sysconf(Int32(_SC_PAGESIZE))) / 1_048_576
    }
}

extension Duration {
    fileprivate var microseconds: Int64 { components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000 }
}
