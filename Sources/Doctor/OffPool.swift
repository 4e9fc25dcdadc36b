import Dispatch
import Synchronization

/// Runs calls that block on threads of their own, and not on the cooperative pool, which has one thread per core.
enum OffPool {
    /// - Returns: nil at the deadline. The call then ends on its own, and its result is dropped.
    static func run<Value: Sendable>(
        within patience: Duration, _ body: @escaping @Sendable () -> Value
    ) async -> Value? {
        let (results, continuation) = AsyncStream<Value?>.makeStream(bufferingPolicy: .bufferingOldest(1))
        DispatchQueue.global().async { continuation.yield(body()) }
        DispatchQueue.global().asyncAfter(deadline: .now() + patience / .seconds(1)) { continuation.yield(nil) }
        for await result in results { return result }
        return nil
    }
}
