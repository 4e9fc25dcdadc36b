import ChallengeModel
import Synchronization

/// Receipts that are on their way to Kafka already. A receipt token is good any number of times, and each time would be a row of
/// the outbox: who holds one could fill it, and creations would be refused. What says nothing new is answered and not written.
final class RecentReceipts: Sendable {
    private struct Key: Hashable {
        let challenge: String
        let factor: String
        let dispatch: String
        let channel: Int
        let shown: Int
    }

    private let bound: Int
    private let seen = Mutex<Set<Key>>([])

    /// - Parameter bound: about 150 bytes each. When it is reached all are forgotten.
    init(bound: Int = 50_000) {
        self.bound = bound
    }

    func contains(_ receipt: Receipt) -> Bool { seen.withLock { $0.contains(Self.key(receipt)) } }

    /// After its commit: a receipt that was not written must not stop the next.
    func insert(_ receipt: Receipt) {
        seen.withLock { seen in
            if seen.count >= bound { seen.removeAll(keepingCapacity: true) }
            seen.insert(Self.key(receipt))
        }
    }

    private static func key(_ receipt: Receipt) -> Key {
        Key(
            challenge: receipt.challengeSid, factor: receipt.factorSid, dispatch: receipt.dispatchID,
            channel: receipt.channel.rawValue, shown: receipt.shown.rawValue)
    }
}
