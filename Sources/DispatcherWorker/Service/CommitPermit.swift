import KafkaGroup
import PushGateway
import PushProviders

/// The permit of an assignment's pushes: they leave only while the fence is open, and not after the assignment's end.
final class CommitPermit: PushPermit {
    private let fence: CommitFence
    private let term: Int

    /// For the assignment that has begun.
    init(fence: CommitFence) {
        self.fence = fence
        term = fence.term
    }

    var isValid: Bool { fence.isOpen(term: term, atMs: Moment.now().steadyMs) }
}
