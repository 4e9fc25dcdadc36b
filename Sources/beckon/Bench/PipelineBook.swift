import ChallengeModel
import KafkaClient
import Synchronization
import Wire

/// What was fed and what came of it.
final class PipelineBook: Sendable {
    private struct State {
        var fedAtMs: [Int64]
        /// Outcomes `accepted`, and others, by index.
        var accepted: [UInt8]
        var others: [UInt8]
        var sizes: [UInt32]
        var leads: [Int]
        var seen = 0
        var failures = 0
        var latencies: [Int32] = []
        var last = ContinuousClock.now
    }

    private let count: Int
    private let partitions: Int
    private let state: Mutex<State>
    private let progress = ArrivalSignal()
    private let complete = Atomic(false)
    private let started = ArrivalSignal()

    init(count: Int, partitions: Int) {
        self.count = count
        self.partitions = partitions
        var fresh = State(
            fedAtMs: Array(repeating: 0, count: count), accepted: Array(repeating: 0, count: count),
            others: Array(repeating: 0, count: count), sizes: Array(repeating: 0, count: count),
            leads: Array(repeating: 0, count: partitions))
        fresh.latencies.reserveCapacity(count)
        state = Mutex(fresh)
    }

    var lastOutcome: ContinuousClock.Instant { state.withLock { $0.last } }

    /// Waits until the record's partition has room for it, then counts it in. - Returns: false when cancelled.
    func mayLead(_ index: Int, _ record: ProducerRecord) async -> Bool {
        let partition = Int(Murmur2.partition(key: record.key, partitions: partitions))
        // What the stand-in stores besides: record framing and header names.
        let size = record.key.count + record.value.count + record.headers.reduce(40) { $0 + $1.value.count + 20 }
        let nowMs = Timestamp.nowMs()
        while true {
            let hasRoom = state.withLock { state in
                guard state.leads[partition] + size <= PipelineRun.longestLeadBytes else { return false }
                state.leads[partition] += size
                state.sizes[index] = UInt32(size)
                state.fedAtMs[index] = nowMs
                return true
            }
            if hasRoom { return true }
            guard await progress.wait() else { return false }
        }
    }

    func failed() { state.withLock { $0.failures += 1 } }

    func isReading() async { _ = await started.wait() }

    /// Reads outcomes until cancelled.
    func read(_ consumer: KafkaConsumer) async {
        for await event in consumer.events {
            guard case .assigned(let assignment) = event else { continue }
            let ends = (try? await consumer.endOffsets(assignment.partitions, deadline: .seconds(10))) ?? [:]
            guard let readers = try? await assignment.accept(from: ends.mapValues { .at($0) }) else { return }
            started.fire()
            await withDiscardingTaskGroup { group in
                for reader in readers.values {
                    group.addTask {
                        while let items = await reader.next(max: 500) { self.note(items) }
                    }
                }
            }
        }
    }

    private func note(_ items: [PartitionItem]) {
        var found: [(index: Int, partition: Int, isAccepted: Bool, atMs: Int64)] = []
        found.reserveCapacity(items.count)
        for case .record(let record) in items {
            guard let index = PipelineLoad.index(ofKey: record.key), index < count,
                let value = try? OutcomeRecord(value: record.value, contentType: ContentType.protobuf.rawValue),
                case .push(let outcome) = value.kind
            else { continue }
            found.append(
                (index, Int(record.topicPartition.partition), outcome.disposition == .accepted, outcome.atMs))
        }
        guard !found.isEmpty else { return }
        let isComplete = state.withLock { state in
            for (index, partition, isAccepted, atMs) in found {
                if state.accepted[index] == 0, state.others[index] == 0 {
                    state.seen += 1
                    state.leads[partition] -= Int(state.sizes[index])
                    state.latencies.append(Int32(clamping: atMs - state.fedAtMs[index]))
                }
                if isAccepted { state.accepted[index] &+= 1 } else { state.others[index] &+= 1 }
            }
            state.last = .now
            return state.seen == count
        }
        progress.fire()
        if isComplete { complete.store(true, ordering: .releasing) }
    }

    /// Returns when every push has an outcome, or none has come for `patience`.
    func wait(patience: Duration, while isAlive: () -> Bool) async throws {
        while !complete.load(ordering: .acquiring) {
            try await Task.sleep(for: .milliseconds(2))
            let (last, failures) = state.withLock { ($0.last, $0.failures) }
            if failures > 0 { throw BenchError("\(failures) records could not be written to Kafka") }
            guard isAlive() else { throw BenchError("the dispatcher ended; use --log FILE to keep its log") }
            if .now - last > patience { return }
        }
    }

    func report() -> PipelineRun.Report {
        state.withLock { state in
            var report = PipelineRun.Report()
            report.lost = count - state.seen
            for index in 0..<count {
                if state.accepted[index] > 1 { report.duplicates += Int(state.accepted[index]) - 1 }
                if state.accepted[index] == 0, state.others[index] > 0 { report.refused += 1 }
            }
            let sorted = state.latencies.sorted()
            if !sorted.isEmpty {
                report.p50Ms = Int64(sorted[sorted.count / 2])
                report.p99Ms = Int64(sorted[min(sorted.count - 1, sorted.count * 99 / 100)])
            }
            return report
        }
    }
}
