/// Waits between tries: doubled from 50 ms to 2 s, each with jitter, so that many that failed together do not come back together.
struct Backoff: Sendable {
    private var next: Duration = .milliseconds(50)

    /// - Returns: false when the task was cancelled.
    mutating func wait() async -> Bool {
        let delay = next * Double.random(in: 0.5...1)
        next = min(next * 2, .seconds(2))
        do {
            try await Task.sleep(for: delay)
            return true
        } catch {
            return false
        }
    }
}
