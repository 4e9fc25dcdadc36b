import Foundation
import Logging
import Synchronization

/// The reasons why Kafka refuses this process: missing rights, a wrong password, another protocol on the port, an
/// unknown topic.
/// librdkafka's return codes say only "transport failure" or "timed out"; its log lines and error events name the
/// cause. Every client of a ``KafkaConfiguration`` and its copies reports here, and each cause is logged once a minute
/// at most. Bounded: 64 causes.
public final class KafkaDiagnosis: Sendable {
    /// The subject of a cause. It decides which event shows that the cause is gone.
    enum Subject: Hashable, Sendable {
        /// The brokers refuse the client, whichever is asked: any answer to the client ends it.
        case refusal
        /// A broker is out of reach. It counts only while no client of the process was ever answered: it may be one of
        /// several, and a client that is not used yet, such as the one for dead letters, would not know of the others.
        case reach
        /// The group: ends with an assignment.
        case group
        /// A topic: ends when it is read or written.
        case topic(String)
    }

    struct Cause: Hashable, Sendable {
        var subject: Subject
        var text: String
        /// Nil: it is not about the way to the brokers.
        var obstacle: KafkaObstacle?
        /// The log line that says so.
        var line = ""
    }

    private struct Entry {
        var cause: Cause
        var client: Int
        var seen: ContinuousClock.Instant
    }

    private struct State {
        var entries: [Entry] = []
        var clients = 0
        /// Clients that a broker has answered.
        var answered: Set<Int> = []
        /// When each cause was logged. Beside the entries: a client may meet two causes of one subject in turn.
        var logged: [Cause: ContinuousClock.Instant] = [:]
    }

    /// librdkafka repeats a line that stays the same after 30 s.
    private static let memory: Duration = .seconds(75)
    /// From one log line of a cause to the next.
    private static let silence: Duration = .seconds(60)
    private static let mostEntries = 64

    private let state = Mutex(State())
    /// So that an acknowledgement looks at the list only when there is something in it.
    private let isClean = Atomic(true)

    public init() {}

    /// The known cause in one line; nil: none.
    public var cause: String? {
        let now = ContinuousClock.now
        let texts = state.withLock { state in
            forget(&state, now: now)
            return state.entries.filter { Self.counts($0, state) }.map(\.cause.text)
        }
        guard !texts.isEmpty else { return nil }
        return Set(texts).sorted().prefix(3).joined(separator: "; ")
    }

    /// What keeps the clients from the brokers, as their log lines say it: the first of its kind first.
    var obstacles: [(obstacle: KafkaObstacle, line: String)] {
        state.withLock { state in
            state.entries.compactMap { entry in entry.cause.obstacle.map { ($0, entry.cause.line) } }
        }
    }

    /// A name for a client that reports here.
    func enter() -> Int {
        state.withLock { state in
            state.clients += 1
            return state.clients
        }
    }

    /// The client is gone, and its causes with it.
    func leave(_ client: Int) {
        state.withLock { state in
            state.entries.removeAll { $0.client == client }
            state.answered.remove(client)
        }
    }

    func note(_ cause: Cause, client: Int, logger: Logger) {
        let now = ContinuousClock.now
        let isNew = state.withLock { state in
            isClean.store(false, ordering: .releasing)
            forget(&state, now: now)
            let index = state.entries.firstIndex { $0.client == client && $0.cause.subject == cause.subject }
            var entry = index.map { state.entries[$0] } ?? Entry(cause: cause, client: client, seen: now)
            entry.cause = cause
            entry.seen = now
            state.logged = state.logged.filter { now - $0.value < Self.silence }
            // Several clients meet the same obstacle: one line tells it.
            let isDue =
                state.logged[cause] == nil && state.logged.count < Self.mostEntries && Self.counts(entry, state)
            if isDue { state.logged[cause] = now }
            if let index {
                state.entries[index] = entry
            } else if state.entries.count < Self.mostEntries {
                state.entries.append(entry)
            }
            return isDue
        }
        if isNew { logger.error("Kafka does not serve us", metadata: ["cause": "\(cause.text)"]) }
    }

    /// A broker has answered the client for the first time.
    func isAnswered(_ client: Int) { state.withLock { _ = $0.answered.insert(client) } }

    /// A broker has answered the client; for a group that it has an assignment, for a topic that it was read or
    /// written.
    func isWell(_ subject: Subject, client: Int) {
        guard !isClean.load(ordering: .acquiring) else { return }
        state.withLock { state in
            state.entries.removeAll { entry in
                entry.client == client
                    && (entry.cause.subject == subject || [.refusal, .reach].contains(entry.cause.subject))
            }
            if state.entries.isEmpty { isClean.store(true, ordering: .releasing) }
        }
    }

    private static func counts(_ entry: Entry, _ state: State) -> Bool {
        entry.cause.subject != .reach || state.answered.isEmpty
    }

    private func forget(_ state: inout State, now: ContinuousClock.Instant) {
        // Of a group librdkafka tells once: it counts until there is an assignment.
        state.entries.removeAll { $0.cause.subject != .group && now - $0.seen > Self.memory }
    }
}
