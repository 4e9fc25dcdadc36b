/// Asks again until an answer comes. For a test's own requests to something that its faults have cut, or that starts
/// again; the request must be one that may be repeated.
/// - Parameters:
///   - what: names the request in the error.
///   - bound: how long it is tried.
/// - Throws: ``BeckonProcess/Failure`` with the last error at the bound; ``BeckonProcess/Ended`` and
///   `CancellationError` at once.
public func retried<Answer>(
    _ what: String, within bound: Duration = .seconds(30), _ ask: () async throws -> Answer
) async throws -> Answer {
    let end = ContinuousClock.now + bound
    while true {
        do {
            return try await ask()
        } catch let error where error is BeckonProcess.Ended || error is CancellationError {
            throw error
        } catch  where ContinuousClock.now >= end {
            throw BeckonProcess.Failure(description: "\(what): no answer within \(bound), the last error: \(error)")
        } catch {
            try await Task.sleep(for: .milliseconds(100))
        }
    }
}
