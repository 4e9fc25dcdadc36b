import Synchronization

/// The readiness of a role: named checks, each with a reason while it fails. `/readyz` and a metric show them.
public final class Readiness: Sendable {
    private struct State {
        var failing: [String: String]
        var hasBeenReady = false
    }

    private let state: Mutex<State>

    /// - Parameter pending: checks that have not succeeded yet. The role is unready until each of them passes
    ///   (``pass(_:)``).
    public init(pending: [String] = []) {
        state = Mutex(State(failing: Dictionary(uniqueKeysWithValues: pending.map { ($0, "starting") })))
    }

    public func fail(_ check: String, _ reason: String) { state.withLock { $0.failing[check] = reason } }

    public func pass(_ check: String) {
        state.withLock { state in
            state.failing[check] = nil
            if state.failing.isEmpty { state.hasBeenReady = true }
        }
    }

    /// The failing checks with their reasons; empty when the role is ready.
    public var reasons: [String: String] { state.withLock { $0.failing } }
    public var isReady: Bool { state.withLock { $0.failing.isEmpty } }

    /// Why no requests should be sent to the role; empty since the first time that it was ready. Later faults, as of
    /// Kafka or the store, are the same for all processes of the role: taking requests away from all of them would turn
    /// a part that is missing into a whole that is missing.
    public var reasonsAgainstRequests: [String: String] { state.withLock { $0.hasBeenReady ? [:] : $0.failing } }
}
