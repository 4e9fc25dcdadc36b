import Synchronization

/// What is to go wrong with one request.
struct FaultDecision: Sendable, Hashable {
    enum Harm: Sendable, Hashable {
        case outage
        case error(reason: String)
        case silence(delivers: Bool)
        case reset
    }

    /// Nil: the request is looked at as usual.
    var harm: Harm?
    /// Accepted, but not delivered.
    var drops = false
    var delayMs = 0
    var retryAfterSeconds = 0
}

/// What is to happen when a connection opens a stream.
enum StreamFate: Sendable, Hashable {
    case serve
    /// Serve it and those before it, and say GOAWAY.
    case serveAsLast
    case cutConnection
}

/// Holds the faults that are switched on, and decides for each request.
final class FaultInjector: Sendable {
    private struct State {
        var faults = ProviderFaults()
        var unavailableUntilMs: Int64 = 0
        var random: SplitMix64
    }

    private let state: Mutex<State>
    private let nowMs: @Sendable () -> Int64

    init(seed: UInt64, nowMs: @escaping @Sendable () -> Int64) {
        state = Mutex(State(random: SplitMix64(state: seed)))
        self.nowMs = nowMs
    }

    var faults: ProviderFaults { state.withLock { $0.faults } }

    func set(_ faults: ProviderFaults) {
        let now = nowMs()
        state.withLock {
            $0.faults = faults
            $0.unavailableUntilMs = faults.unavailableForMs > 0 ? now + faults.unavailableForMs : 0
        }
    }

    /// - Parameter count: streams that the connection has opened, this one included.
    func streamOpened(count: Int) -> StreamFate {
        state.withLock {
            if $0.faults.cutEveryStreams > 0, count >= $0.faults.cutEveryStreams { return .cutConnection }
            if $0.faults.goAwayEveryStreams > 0, count >= $0.faults.goAwayEveryStreams { return .serveAsLast }
            return .serve
        }
    }

    func decide() -> FaultDecision {
        state.withLock { state in
            var decision = FaultDecision()
            let faults = state.faults
            if faults.latencyMs > 0 || faults.latencyJitterMs > 0 {
                decision.delayMs =
                    faults.latencyMs + Int.random(in: 0...max(faults.latencyJitterMs, 0), using: &state.random)
            }
            if state.random.hits(faults.latencyTailShare) { decision.delayMs += faults.latencyTailMs }
            decision.retryAfterSeconds = faults.retryAfterSeconds
            if state.unavailableUntilMs > 0, nowMs() < state.unavailableUntilMs {
                decision.harm = .outage
            } else if state.random.hits(faults.neverAnswerShare) {
                decision.harm = .silence(delivers: faults.neverAnswerDelivers)
            } else if state.random.hits(faults.resetShare) {
                decision.harm = .reset
            } else if state.random.hits(faults.errorShare) {
                decision.harm = .error(reason: faults.errorReason)
            }
            decision.drops = state.random.hits(faults.dropShare)
            return decision
        }
    }
}

/// A small generator with a seed, so that a run can be repeated.
struct SplitMix64: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// True with that share; draws nothing when the share is 0.
    mutating func hits(_ share: Double) -> Bool {
        share > 0 && Double(next() >> 11) * 0x1p-53 < share
    }
}
