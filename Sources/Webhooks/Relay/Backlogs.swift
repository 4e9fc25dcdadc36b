import ChallengeModel
import Challenges
import Synchronization

/// Which webhooks may have stored events of which partitions: then a new event has to look whether older ones of its
/// lane are stored. Never too few; the relay reads the whole list before it reads a partition, and again about once a
/// second.
final class Backlogs: Sendable {
    private struct Place: Hashable {
        let partition: Int32
        let webhook: WebhookSID
    }

    private struct State {
        var places: Set<Place> = []
        /// Places to which something is being written, by the number of writers: a reading of the list may not see it
        /// yet.
        var writers: [Place: Int] = [:]
        /// Places that had a writer since the last reading of the list began.
        var added: Set<Place> = []
    }

    private let state = Mutex(State())

    func has(_ webhook: WebhookSID, in partition: Int32) -> Bool {
        state.withLock { $0.places.contains(Place(partition: partition, webhook: webhook)) }
    }

    /// Call it before an event is written to the store, and ``written(_:in:)`` after it.
    func write(_ webhook: WebhookSID, in partition: Int32) {
        state.withLock { state in
            let place = Place(partition: partition, webhook: webhook)
            state.places.insert(place)
            state.added.insert(place)
            state.writers[place, default: 0] += 1
        }
    }

    /// The event is stored, or given up.
    func written(_ webhook: WebhookSID, in partition: Int32) {
        state.withLock { state in
            let place = Place(partition: partition, webhook: webhook)
            let left = (state.writers[place] ?? 1) - 1
            state.writers[place] = left == 0 ? nil : left
        }
    }

    /// A reading of the list begins. It sees what was written before.
    func begin() { state.withLock { $0.added = Set($0.writers.keys) } }

    /// The reading has ended. What it may not have seen stays.
    func end(_ found: [WebhookBacklog]) {
        state.withLock { state in
            state.places = Set(found.map { Place(partition: $0.partition, webhook: $0.webhook) }).union(state.added)
        }
    }
}
