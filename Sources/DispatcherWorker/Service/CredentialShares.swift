import Synchronization

/// Keeps a credential whose provider does not answer from filling the window of the whole process, in which everybody else
/// would then wait for its deadlines: once it holds half of the window and nothing has been answered for a while, its next
/// pushes are deferred at once. A credential that is answered may use all of the window.
final class CredentialShares: Sendable {
    private struct Share {
        var count = 0
        /// When something was answered, or when the first went out.
        var lastMs: Int64
    }

    private let half: Int
    private let stallMs: Int64
    private let shares = Mutex<[String: Share]>([:])

    init(maxPushes: Int, stallMs: Int64) {
        half = max(1, maxPushes / 2)
        self.stallMs = stallMs
    }

    /// A push is about to be sent. False: it is not to be, and is not counted.
    func enter(_ credential: String, steadyMs: Int64) -> Bool {
        shares.withLock { shares in
            var share = shares[credential] ?? Share(lastMs: steadyMs)
            guard share.count < half || steadyMs - share.lastMs < stallMs else { return false }
            share.count += 1
            shares[credential] = share
            return true
        }
    }

    /// A push that had entered was answered, with whatever.
    func leave(_ credential: String, steadyMs: Int64) {
        shares.withLock { shares in
            guard var share = shares[credential] else { return }
            share.count -= 1
            share.lastMs = steadyMs
            shares[credential] = share.count > 0 ? share : nil
        }
    }
}
