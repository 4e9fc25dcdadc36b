/// The waits between attempts. They double from `first` to `most`. Each has jitter, so that many attempts that failed
/// at the same time are not repeated at the same time.
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

    /// The next wait, between half of the current length and the full length.
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
