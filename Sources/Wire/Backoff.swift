/// Waits between attempts at something that fails: each failure in a row doubles the wait, from `first` to `most`. The
/// second half of a wait is random, so that many that failed together do not come back together.
package struct Backoff: Sendable, Hashable {
    /// The longest first wait.
    package let first: Duration
    /// The longest wait.
    package let most: Duration
    /// Failures in a row.
    package private(set) var failures: Int

    /// - Parameters:
    ///   - first: default 50 ms.
    ///   - most: default 2 s.
    ///   - failures: so many came before.
    package init(first: Duration = .milliseconds(50), most: Duration = .seconds(2), failures: Int = 0) {
        self.first = first
        self.most = most
        self.failures = max(failures, 0)
    }

    /// The wait after the last failure, without its random part; zero when there was none.
    package var whole: Duration {
        guard failures > 0 else { return .zero }
        return min(first * (1 << min(failures - 1, 30)), most)
    }

    /// Counts a failure.
    /// - Parameter random: in 0..<1.
    /// - Returns: how long to wait: at least half of ``whole``.
    package mutating func failed(random: Double = .random(in: 0..<1)) -> Duration {
        failures = min(failures, .max - 1) + 1
        return whole / 2 + whole / 2 * random
    }

    package mutating func succeeded() { failures = 0 }

    /// Counts a failure and waits.
    /// - Returns: false when the task was cancelled.
    package mutating func wait() async -> Bool {
        do {
            try await Task.sleep(for: failed())
            return true
        } catch {
            return false
        }
    }
}
