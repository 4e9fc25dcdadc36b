import ChallengeModel
import KafkaClient
import Logging
import Synchronization

/// Follows the topics and remembers what was said of each challenge, and when it was seen.
final class TourObserver: Sendable {
    enum Fact: Sendable {
        case dispatched(ChallengeDispatch)
        case pushed(PushOutcome)
        case escalated(Escalation)
        case received(Receipt)
        case resolved(Resolution)
        case event(CloudEvent)
    }

    struct Entry: Sendable {
        let fact: Fact
        let seen: ContinuousClock.Instant
    }

    private struct Waiter {
        let id: Int
        let challenge: String
        /// True when it has resumed its caller.
        let check: @Sendable ([Entry]) -> Bool
        let giveUp: @Sendable () -> Void
    }

    private struct State {
        var entries: [String: [Entry]] = [:]
        var waiters: [Waiter] = []
        var nextID = 0
    }

    private let consumer: KafkaConsumer
    private let names: TopicNames
    private let state = Mutex(State())

    init(kafka: KafkaConfiguration, names: TopicNames, logger: Logger) throws {
        self.names = names
        let topics = Topic.copartitioned + [.events]
        consumer = try KafkaConsumer(configuration: kafka, following: topics.map { names[$0] }, logger: logger)
    }

    /// Follows until cancelled.
    func run() async throws {
        for await event in consumer.events {
            guard case .assigned(let assignment) = event else { continue }
            let readers = try await assignment.accept(
                from: Dictionary(uniqueKeysWithValues: assignment.partitions.map { ($0, .beginning) }))
            await withDiscardingTaskGroup { group in
                for reader in readers.values {
                    group.addTask {
                        while let items = await reader.next(max: 100) {
                            for case .record(let record) in items { self.note(record) }
                        }
                    }
                }
            }
            if Task.isCancelled { break }
        }
        await consumer.close(deadline: .seconds(5))
    }

    /// Waits until `find` sees what it looks for among the facts of a challenge so far.
    /// - Parameter key: a challenge's SID, or another subject of an event.
    /// - Returns: nil at the deadline.
    func wait<Value: Sendable>(
        for key: String, within deadline: Duration, _ find: @escaping @Sendable ([Entry]) -> Value?
    ) async -> Value? {
        await withTaskGroup(of: Value?.self) { group in
            group.addTask { await self.first(key, find) }
            group.addTask {
                try? await Task.sleep(for: deadline)
                return nil
            }
            let value = await group.next() ?? nil
            group.cancelAll()
            return value
        }
    }

    func entries(of key: String) -> [Entry] { state.withLock { $0.entries[key] ?? [] } }

    /// All events so far.
    var events: [CloudEvent] {
        state.withLock { state in
            state.entries.values.flatMap { $0 }.compactMap {
                if case .event(let event) = $0.fact { event } else { nil }
            }
        }
    }

    private func first<Value: Sendable>(
        _ key: String, _ find: @escaping @Sendable ([Entry]) -> Value?
    ) async -> Value? {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Value?, Never>) in
                let now = state.withLock { state -> Value?? in
                    if let value = find(state.entries[key] ?? []) { return .some(value) }
                    if Task.isCancelled { return .some(nil) }
                    state.waiters.append(
                        Waiter(id: id, challenge: key) { entries in
                            guard let value = find(entries) else { return false }
                            continuation.resume(returning: value)
                            return true
                        } giveUp: {
                            continuation.resume(returning: nil)
                        })
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> Waiter? in
                guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
                return state.waiters.remove(at: index)
            }
            waiter?.giveUp()
        }
    }

    private func note(_ record: ConsumedRecord) {
        guard let fact = fact(in: record) else { return }
        let key = String(decoding: record.key, as: UTF8.self)
        state.withLock { state in
            state.entries[key, default: []].append(Entry(fact: fact, seen: .now))
            let entries = state.entries[key] ?? []
            state.waiters.removeAll { $0.challenge == key && $0.check(entries) }
        }
    }

    private func fact(in record: ConsumedRecord) -> Fact? {
        let contentType = record.headers.text(of: ContentType.headerName)
        switch names.topic(named: record.topicPartition.topic) {
        case .challenges:
            guard let value = try? ChallengeRecord(value: record.value, contentType: contentType),
                case .dispatch(let dispatch) = value.kind
            else { return nil }
            return .dispatched(dispatch)
        case .outcomes:
            switch try? OutcomeRecord(value: record.value, contentType: contentType).kind {
            case .push(let outcome): return .pushed(outcome)
            case .escalation(let escalation): return .escalated(escalation)
            default: return nil
            }
        case .receipts: return (try? Receipt(value: record.value, contentType: contentType)).map { .received($0) }
        case .resolutions: return (try? Resolution(value: record.value, contentType: contentType)).map { .resolved($0) }
        case .events: return (try? CloudEvent(json: record.value)).map { .event($0) }
        default: return nil
        }
    }
}
