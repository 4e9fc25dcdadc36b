import ChallengeModel
import CoreMetrics
import KafkaClient
import Logging
import ServiceSupport
import Synchronization
import Tracing

/// Writes the decisions of the partitions and the consequences of reading. Completions run on the producer's thread, so
/// they only take a lock and signal.
final class ConsequenceWriter: Sendable {
    private struct Retry {
        let dueMs: Int64
        let partition: TrackedPartition
        let number: Int64
        let record: ProducerRecord
    }

    private struct State {
        var sequence: UInt64
        /// Bounded by the partitions' outstanding writes, because each retry is one of them. A silent partition has
        /// one.
        var retries: [Retry] = []
    }

    let signer: RecordSigner
    private let producer: KafkaProducer
    private let clock: TrackerClock
    private let metrics: TrackerMetrics
    private let refusals: LimitedLog
    private let onRecovery: @Sendable () -> Void
    /// Nil: no spans are made.
    private let tracer: ServiceTracer?
    private let state: Mutex<State>

    /// - Parameter onRecovery: called when a write of a silent partition was accepted. It must only signal.
    init(
        signer: RecordSigner, producer: KafkaProducer, clock: TrackerClock, metrics: TrackerMetrics, logger: Logger,
        tracer: ServiceTracer? = nil, onRecovery: @escaping @Sendable () -> Void
    ) {
        self.signer = signer
        self.producer = producer
        self.clock = clock
        self.metrics = metrics
        refusals = LimitedLog(logger)
        self.onRecovery = onRecovery
        self.tracer = tracer
        // It also ascends over restarts, as long as the clock does.
        state = Mutex(State(sequence: UInt64(max(0, clock.now().wallMs)) << 20))
    }

    // MARK: Decisions

    /// Writes a challenge's records. Each result is reported to the partition, which decides again after a failure.
    func write(_ firing: TrackedPartition.Firing, of partition: TrackedPartition) {
        let key = firing.sid.text(prefix: ChallengeKind.prefix)
        for action in firing.actions {
            let record: ProducerRecord
            let topic: Topic
            let kind: String
            var span: ServiceSpan?
            switch action {
            case .dispatch(let dispatch, let context):
                var value = ChallengeRecord()
                value.dispatch = dispatch
                (topic, kind) = (.challenges, "attempt")
                span = tracer?.send(topic, signer.names, key: key, after: context)
                span?.set(.dispatch, .string(dispatch.dispatchID))
                record = self.record(topic, key, value.protobufBytes(), after: span?.text ?? context)
            case .escalate(let escalation, let context):
                var value = OutcomeRecord()
                value.escalation = escalation
                (topic, kind) = (.outcomes, "escalation")
                span = tracer?.send(topic, signer.names, key: key, after: context)
                record = self.record(topic, key, value.protobufBytes(), after: span?.text ?? context)
            case .carry(let carried, let context):
                var value = ChallengeRecord()
                value.carried = carried
                (topic, kind) = (.challenges, "carried")
                // It is no step of the challenge, so it has no span of its own.
                record = self.record(topic, key, value.protobufBytes(), after: context)
            }
            span?.set(.decision, .string(kind))
            let decided = span
            let index = topic == .challenges ? 0 : 1
            producer.enqueue(record) { [clock, metrics] result in
                decided?.end(result)
                let now = clock.now()
                switch result {
                case .success(let position):
                    partition.acknowledged(firing.sid, topic: index, offset: position.offset, at: now)
                    switch kind {
                    case "attempt": metrics.attempts.increment()
                    case "escalation": metrics.escalations.increment()
                    default: metrics.carried.increment()
                    }
                case .failure:
                    partition.failed(firing.sid, at: now)
                    metrics.writeFailed(kind: kind)
                }
            }
        }
        metrics.fireDelay.recordMilliseconds(max(0, clock.now().localMs - firing.dueMs))
    }

    private func record(_ topic: Topic, _ key: String, _ value: [UInt8], after context: String) -> ProducerRecord {
        signer.record(topic, key: key, value: value, traceparent: context.isEmpty ? nil : context)
    }

    // MARK: Consequences of reading

    /// Writes events, dead letters and misplaced records until each is acknowledged, as long as the partition is owned
    /// and not silent.
    func write(_ consequences: TrackedPartition.Consequences, of partition: TrackedPartition) {
        if consequences.untold > 0 { metrics.untold.increment(by: consequences.untold) }
        for (number, news) in consequences.news {
            switch news {
            case .matched: metrics.receiptsMatched.increment()
            case .early: metrics.earlyFacts.increment()
            case .dropped: metrics.earlyDropped.increment()
            case .ended(let outcome): metrics.ended(outcome)
            case .latency(let key, let milliseconds): metrics.receipt(of: key, afterMs: milliseconds)
            case .dispatched, .confirmed, .undelivered, .pushFailed, .foreign: break
            }
            guard let number else { continue }
            let sequence = state.withLock { state in
                state.sequence += 1
                return state.sequence
            }
            guard
                let event = DerivedEvent.event(
                    news, nowMs: clock.now().wallMs, sequence: sequence, partition: partition.number,
                    context: consequences.contexts[number])
            else {
                partition.completed(number)
                continue
            }
            metrics.event(type: event.type)
            let span = tracer?.send(
                .events, signer.names, key: event.subject, after: consequences.contexts[number])
            span?.set(.eventType, .string(event.type))
            let record = signer.record(
                .events, key: event.subject, value: event.jsonBytes(), contentType: .cloudEvent,
                traceparent: span?.text ?? consequences.contexts[number])
            write(record, number, of: partition)
            // The write is repeated until it succeeds. The span shows the decision.
            span?.end()
        }
        for (number, record) in consequences.records { write(record, number, of: partition) }
        for (number, record) in consequences.foreign {
            let topic = signer.names.topic(named: record.topicPartition.topic) ?? .receipts
            metrics.refused(topic: topic.rawValue, reason: .foreign)
            let letter = signer.deadLetter(
                record, reason: "service", detail: "the record names another service than its challenge's")
            write(letter, number, of: partition)
        }
    }

    private func write(
        _ record: ProducerRecord, _ number: Int64, of partition: TrackedPartition, isProbe: Bool = false
    ) {
        producer.enqueue(record) { [self] result in
            switch result {
            case .success:
                partition.completed(number)
                if isProbe { onRecovery() }
            case .failure(let error):
                metrics.writeFailed(kind: "consequence")
                // A record that no broker will ever accept must not block the partition. No other record is given up.
                guard !error.isRefusal(of: record) else { return refused(record, number, of: partition, error) }
                let dueMs = clock.now().localMs + 500
                let isSilent = partition.isSilent
                state.withLock { state in
                    if isSilent, state.retries.contains(where: { $0.partition === partition }) { return }
                    state.retries.append(Retry(dueMs: dueMs, partition: partition, number: number, record: record))
                }
            }
        }
    }

    /// A record that no broker will ever accept becomes a dead letter. A dead letter that no broker accepts is dropped.
    private func refused(
        _ record: ProducerRecord, _ number: Int64, of partition: TrackedPartition, _ error: KafkaError
    ) {
        let isLetter = record.topic == signer.names[.deadLetters]
        refusals.error(
            isLetter
                ? "dead letters refuse a record; it is dropped"
                : "Kafka refuses a record for good; it goes to dead letters",
            metadata: .trace(
                of: record.headers,
                ["topic": "\(record.topic)", "partition": "\(partition.number)", "error": "\(error)"]))
        guard !isLetter else { return partition.completed(number) }
        write(signer.deadLetter(refused: record), number, of: partition)
    }

    /// Repeats writes that failed a while ago.
    func retry() {
        let nowMs = clock.now().localMs
        let due = state.withLock { state -> [Retry] in
            guard !state.retries.isEmpty else { return [] }
            let due = state.retries.filter { $0.dueMs <= nowMs }
            state.retries.removeAll { $0.dueMs <= nowMs }
            return due
        }
        for retry in due {
            write(retry.record, retry.number, of: retry.partition, isProbe: retry.partition.isSilent)
        }
    }

    /// Whether failed writes of the partition wait for a retry.
    func isFailing(_ partition: TrackedPartition) -> Bool {
        state.withLock { $0.retries.contains { $0.partition === partition } }
    }

    /// Gives up the failed writes of a silent partition, except one. This write shows when writing is possible again.
    func keepProbe(of partition: TrackedPartition) {
        state.withLock { state in
            guard let probe = state.retries.first(where: { $0.partition === partition }) else { return }
            state.retries.removeAll { $0.partition === partition }
            state.retries.append(probe)
        }
    }

    /// Drops the retries of partitions that this tracker no longer owns. The next owner writes these records.
    func dropRetries(of partitions: [TrackedPartition]) {
        state.withLock { state in
            state.retries.removeAll { retry in partitions.contains { $0 === retry.partition } }
        }
    }
}
