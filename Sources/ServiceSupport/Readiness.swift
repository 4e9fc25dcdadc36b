import Synchronization

/// The readiness of a role: named checks, each with a reason while it fails. `/readyz` and a metric show them.
public final class Readiness: Sendable {
    private let failing: Mutex<[String: String]>

    /// - Parameter pending: checks that have not succeeded yet. The role is unready until each of them passes
    ///   (``pass(_:)``).
    public init(pending: [String] = []) {
        failing = Mutex(Dictionary(uniqueKeysWithValues: pending.map { ($0, "starting") }))
    }

    public func fail(_ check: String, _ reason: String) { failing.withLock { $0[check] = reason } }
    public func pass(_ check: String) { failing.withLock { _ = $0.removeValue(forKey: check) } }

    /// The failing checks with their reasons; empty when the role is ready.
    public var reasons: [String: String] { failing.withLock { $0 } }
    public var isReady: Bool { failing.withLock { $0.isEmpty } }
}
