/// Runs `body` for at most `deadline`. Then it cancels `body`, waits for its end and throws
/// ``DeviceError/deadlineExceeded``. `body` must react to cancellation.
package func withDeadline<Result: Sendable>(
    _ deadline: Duration, _ body: @escaping @Sendable () async throws -> Result
) async throws -> Result {
    try await withThrowingTaskGroup(of: Result?.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: deadline)
            return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let result = first else {
            try Task.checkCancellation()
            throw DeviceError.deadlineExceeded
        }
        return result
    }
}
