import ChallengeModel
import Logging
import NIOCore
import Synchronization

/// Pushes outstanding at one provider host, over all credentials.
final class HostLimit: Sendable {
    private let count = Atomic(0)
    private let most: Int

    init(most: Int) { self.most = most }

    /// False, and nothing counted, when the bound is reached.
    func enter() -> Bool {
        if count.add(1, ordering: .relaxed).newValue <= most { return true }
        count.subtract(1, ordering: .relaxed)
        return false
    }

    func leave() { count.subtract(1, ordering: .relaxed) }
}

/// The way of one credential to one provider host: pools, one per event loop, and a circuit breaker.
final class ProviderLane: Sendable {
    let endpoint: Endpoint
    private let pools: [ConnectionPool]
    private let host: HostLimit
    private let breaker: Mutex<CircuitBreaker>
    private let clock: GatewayClock
    private let logger: Logger
    private let turn = Atomic(0)

    init(
        endpoint: Endpoint, pools: [ConnectionPool], host: HostLimit, breaker: CircuitBreaker, clock: GatewayClock,
        logger: Logger
    ) {
        self.endpoint = endpoint
        self.pools = pools
        self.host = host
        self.breaker = Mutex(breaker)
        self.clock = clock
        self.logger = logger
    }

    enum Admission: Equatable {
        case send(isProbe: Bool)
        case busy
        case stayAway(untilMs: Int64)
    }

    /// After `send` exactly one ``leave(_:isProbe:)`` must follow.
    func enter(nowMs: Int64) -> Admission {
        guard host.enter() else { return .busy }
        switch breaker.withLock({ $0.admit(nowMs: nowMs) }) {
        case .send: return .send(isProbe: false)
        case .probe: return .send(isProbe: true)
        case .stayAway(let untilMs):
            host.leave()
            return .stayAway(untilMs: untilMs)
        }
    }

    func leave(_ event: CircuitBreaker.Event, isProbe: Bool, nowMs: Int64) {
        host.leave()
        let (hasChanged, state) = breaker.withLock { breaker in
            (breaker.record(event, wasProbe: isProbe, nowMs: nowMs), breaker.state)
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

    /// The breaker is not closed.
    var isKeptBack: Bool { breaker.withLock { $0.state != .closed } }

    func submit(_ request: OutboundRequest) {
        if pools.count == 1 { return pools[0].submit(request) }
        let next = turn.add(1, ordering: .relaxed).newValue
        pools[Int(UInt(bitPattern: next) % UInt(pools.count))].submit(request)
    }

    func drain() -> [EventLoopFuture<Void>] { pools.map { $0.drain() } }
    func abort() -> [EventLoopFuture<Void>] { pools.map { $0.abort() } }
}
