import ChallengeModel
import Challenges
import Synchronization

/// Which webhooks may have stored events of which partitions: then a new event has to look whether older ones of its lane are
/// stored. Never too few; the relay reads the whole list before it reads a partition, and again about once a second.
final class Backlogs: Sendable {
    private struct Place: Hashable {
        let partition: Int32
        let webhook: WebhookSID
    }

    private struct State {
        var places: Set<Place> = []
        /// Added since the last reading of the list began.
        var added: Set<Place> = []
    }

    private let state = Mutex(State())

    func has(_ webhook: WebhookSID, in partition: Int32) -> Bool {
        state.withLock { $0.places.contains(Place(partition: partition, webhook: webhook)) }
    }

    /// Call it before the first event is stored.
    func add(_ webhook: WebhookSID, in partition: Int32) {
        state.withLock { state in
            let place = Place(partition: partition, webhook: webhook)
            state.places.insert(place)
            state.added.insert(place)
        }
    }

    /// A reading of the list begins.
    func begin() { state.withLock { $0.added = [] } }

    /// The reading has ended. What was added since its beginning stays.
    func end(_ found: [WebhookBacklog]) {
        state.withLock { state in
            state.places = Set(found.map { Place(partition: $0.partition, webhook: $0.webhook) }).union(state.added)
        }
    }
}
