import ChallengeModel
import Logging
import NIOCore
import PushProviders
import Synchronization

/// Limits the outstanding pushes at one provider host, over all credentials.
final class HostLimit: Sendable {
    private let count = Atomic(0)
    private let lowered = Atomic(0)
    private let most: Int
    /// Three quarters of the limit. The rest stays free for other providers until it is known whether this provider
    /// hangs.
    let share: Int

    init(most: Int) {
        self.most = most
        share = max(1, most - most / 4)
    }

    /// Counts one push. False, without counting, when the bound is reached.
    func enter() -> Bool {
        if count.add(1, ordering: .relaxed).newValue <= most { return true }
        leave()
        return false
    }

    func leave() { count.subtract(1, ordering: .relaxed) }

    /// Call it when a sender to this host lowers its limit, or restores it.
    func changed(lowered isLowered: Bool) { lowered.add(isLowered ? 1 : -1, ordering: .relaxed) }

    var hasShare: Bool { count.load(ordering: .relaxed) >= share }
    /// True when the host has its share and no sender has a lowered limit. Callers should then wait. When a sender has
    /// a lowered limit, its pushes are deferred instead.
    var isFull: Bool { hasShare && lowered.load(ordering: .relaxed) == 0 }
}

/// The path of one credential to one provider host: one connection pool per event loop, a circuit breaker, and a limit
/// of outstanding pushes.
final class ProviderSender: Sendable {
    private struct Health {
        var breaker: CircuitBreaker
        var limit: InFlightLimit
    }

    let endpoint: Endpoint
    private let pools: [ConnectionPool]
    private let host: HostLimit
    private let health: Mutex<Health>
    private let clock: GatewayClock
    private let logger: Logger
    private let turn = Atomic(0)

    init(
        endpoint: Endpoint, pools: [ConnectionPool], host: HostLimit, breaker: CircuitBreaker, limit: InFlightLimit,
        clock: GatewayClock, logger: Logger
    ) {
        self.endpoint = endpoint
        self.pools = pools
        self.host = host
        health = Mutex(Health(breaker: breaker, limit: limit))
        self.clock = clock
        self.logger = logger
    }

    deinit { if health.withLock({ $0.limit.isLowered }) { host.changed(lowered: false) } }

    /// One push in progress.
    struct Pass {
        /// Time of entry on the steady clock.
        var enteredMs: Int64
        /// True when the result of this push decides whether the circuit breaker closes.
        var isProbe: Bool
    }

    enum Admission {
        case send(Pass)
        case busy
        /// The lowered limit is reached. The time of the next try in epoch milliseconds; the challenge's expiry when
        /// the push gets no slot.
        case stalled(untilMs: Int64)
        /// The circuit breaker is open. The time has the same meaning.
        case stayAway(untilMs: Int64)
    }

    /// Earliest return of a push that the limit keeps back. Such pushes return one after the other.
    private static let stalledMs: Int64 = 2000

    /// After `send`, exactly one ``leave(_:_:)`` must follow.
    func enter(_ push: Push) -> Admission {
        guard host.enter() else { return .busy }
        let hasShare = host.hasShare
        // Converts from the steady clock to the wall clock.
        let steadyMs = clock.steadyMs()
        let shiftMs = clock.nowMs() - steadyMs
        let turning = ReturnRow.Push(
            isFirst: push.kind == .visible && push.dispatchID.utf8.first != UInt8(ascii: "t"),
            isOnlyNow: push.kind == .background,
            expiresAtMs: push.expiresAtMs - shiftMs)
        func epoch(_ untilMs: Int64?) -> Int64 { untilMs.map { $0 + shiftMs } ?? push.expiresAtMs }
        let admission = withHealth(steadyMs) { health -> Admission in
            let admission = health.breaker.admit(turning, nowMs: steadyMs)
            switch admission {
            case .stayAway(let untilMs): return .stayAway(untilMs: epoch(untilMs))
            case .send where !health.limit.hasRoom || hasShare && health.limit.isLowered:
                let nextMs = steadyMs + Self.stalledMs
                return .stalled(untilMs: epoch(health.breaker.turn(turning, notBeforeMs: nextMs, nowMs: steadyMs)))
            case .send, .probe:
                health.limit.enter(nowMs: steadyMs)
                return .send(Pass(enteredMs: steadyMs, isProbe: admission == .probe))
            }
        }
        if case .send = admission { return admission }
        host.leave()
        return admission
    }

    func leave(_ event: CircuitBreaker.Event, _ pass: Pass) {
        host.leave()
        let nowMs = clock.steadyMs()
        let (hasChanged, state) = withHealth(nowMs) { health in
            health.limit.leave(event, enteredMs: pass.enteredMs, nowMs: nowMs)
            let hasChanged = health.breaker.record(event, wasProbe: pass.isProbe, nowMs: nowMs)
            return (hasChanged, health.breaker.state)
        }
        guard hasChanged else { return }
        if case .open(let untilMs) = state {
            logger.warning(
                "circuit opened: pushes are deferred",
                metadata: ["host": "\(endpoint)", "for-ms": "\(untilMs - nowMs)", "because": "\(event)"])
        } else {
            logger.notice("circuit closed: pushes are sent again", metadata: ["host": "\(endpoint)"])
        }
    }

    /// Updates the limit, and logs when it leaves its ceiling or returns to it.
    private func withHealth<T: Sendable>(_ nowMs: Int64, _ body: (inout Health) -> T) -> T {
        let (value, wasLowered, isLowered, limit) = health.withLock { health in
            let wasLowered = health.limit.isLowered
            health.limit.look(nowMs: nowMs)
            let value = body(&health)
            return (value, wasLowered, health.limit.isLowered, health.limit.limit)
        }
        guard wasLowered != isLowered else { return value }
        host.changed(lowered: isLowered)
        if isLowered {
            logger.warning(
                "a provider fails or is slow: fewer pushes are outstanding",
                metadata: ["host": "\(endpoint)", "limit": "\(limit)"])
        } else {
            logger.notice("pushes are no longer limited", metadata: ["host": "\(endpoint)"])
        }
        return value
    }

    /// Whether the circuit breaker is not closed.
    var isKeptBack: Bool { health.withLock { $0.breaker.state != .closed } }

    /// The current limit of outstanding pushes.
    var limit: Int { withHealth(clock.steadyMs()) { $0.limit.limit } }

    func submit(_ request: OutboundRequest) {
        if pools.count == 1 { return pools[0].submit(request) }
        let next = turn.add(1, ordering: .relaxed).newValue
        pools[Int(UInt(bitPattern: next) % UInt(pools.count))].submit(request)
    }

    func drain() -> [EventLoopFuture<Void>] { pools.map { $0.drain() } }
    func abort() -> [EventLoopFuture<Void>] { pools.map { $0.abort() } }
}
