import ChallengeModel
import Synchronization

/// Receipts that are already on their way to Kafka. A receipt token can be used any number of times, and each use would
/// be an outbox row. A holder of one token could fill the outbox, and creations would be refused. Therefore a receipt
/// that says nothing new is answered but not written.
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

    /// - Parameter bound: maximum number of receipts, about 150 bytes each. When it is reached, all are removed.
    init(bound: Int = 50_000) {
        self.bound = bound
    }

    func contains(_ receipt: Receipt) -> Bool { seen.withLock { $0.contains(Self.key(receipt)) } }

    /// Call it after the commit: a receipt that was not written must not stop the next one.
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
