/// Waits between attempts: doubled from `first` to `most`, each with jitter, so that many that failed together do not come back
/// together.
public struct Backoff: Sendable {
    private var next: Duration
    private let most: Duration

    /// - Parameters:
    ///   - first: the longest first wait. Default 50 ms.
    ///   - most: the longest wait. Default 2 s.
    public init(first: Duration = .milliseconds(50), most: Duration = .seconds(2)) {
        next = min(first, most)
        self.most = most
    }

    /// The next wait: from half of the current length to all of it.
    /// - Parameter random: 0.5 to 1.
    mutating func delay(random: Double) -> Duration {
        defer { next = min(next * 2, most) }
        return next * random
    }

    /// Waits. The next wait is twice as long.
    /// - Returns: false when the task was cancelled.
    public mutating func wait() async -> Bool {
        do {
            try await Task.sleep(for: delay(random: Double.random(in: 0.5...1)))
            return true
        } catch {
            return false
        }
    }
}
