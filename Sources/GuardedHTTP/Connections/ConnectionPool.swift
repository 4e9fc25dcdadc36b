import NIOCore
import NIOHTTP1
import Synchronization

/// A connection and what is known of it. Its handler is touched on its event loop alone.
final class PooledConnection: Sendable {
    let channel: any Channel
    let handler: NIOLoopBound<ExchangeHandler>
    let openedAt = ContinuousClock.now
    private let uses = Atomic(0)

    init(channel: any Channel, handler: NIOLoopBound<ExchangeHandler>) {
        self.channel = channel
        self.handler = handler
    }

    /// - Returns: false for the first exchange.
    func countUse() -> Bool { uses.add(1, ordering: .relaxed).oldValue > 0 }
}

/// Idle connections by origin, the last used first. A connection is used at most as long as its address was judged good
/// for.
final class ConnectionPool: Sendable {
    struct Bounds: Sendable {
        var perOrigin = 256
        var total = 4096
        /// From its opening: as long as a judged address is kept.
        var longest = Duration.seconds(60)
    }

    private struct State {
        var idle: [String: [PooledConnection]] = [:]
        var count = 0
        var isClosed = false
    }

    private let bounds: Bounds
    private let state = Mutex(State())

    init(bounds: Bounds = Bounds()) {
        self.bounds = bounds
    }

    func take(_ origin: String) -> PooledConnection? {
        let (found, old) = state.withLock { state -> (PooledConnection?, [PooledConnection]) in
            var old: [PooledConnection] = []
            while let connection = state.idle[origin]?.popLast() {
                state.count -= 1
                guard connection.channel.isActive, ContinuousClock.now - connection.openedAt < bounds.longest else {
                    old.append(connection)
                    continue
                }
                return (connection, old)
            }
            state.idle[origin] = nil
            return (nil, old)
        }
        for connection in old { connection.channel.close(promise: nil) }
        return found
    }

    func give(_ connection: PooledConnection, to origin: String) {
        let isKept = state.withLock { state in
            guard !state.isClosed, state.count < bounds.total, state.idle[origin, default: []].count < bounds.perOrigin,
                ContinuousClock.now - connection.openedAt < bounds.longest
            else { return false }
            state.idle[origin, default: []].append(connection)
            state.count += 1
            return true
        }
        if !isKept { connection.channel.close(promise: nil) }
    }

    /// Closes what has been idle behind its time; call it about once a second.
    func prune() {
        let old = state.withLock { state -> [PooledConnection] in
            let now = ContinuousClock.now
            var old: [PooledConnection] = []
            for (origin, connections) in state.idle {
                let kept = connections.filter { $0.channel.isActive && now - $0.openedAt < bounds.longest }
                guard kept.count < connections.count else { continue }
                old += connections.filter { connection in !kept.contains { $0 === connection } }
                state.idle[origin] = kept.isEmpty ? nil : kept
            }
            state.count -= old.count
            return old
        }
        for connection in old { connection.channel.close(promise: nil) }
    }

    func close() {
        let all = state.withLock { state in
            defer { state.idle = [:] }
            state.isClosed = true
            state.count = 0
            return state.idle.values.flatMap { $0 }
        }
        for connection in all { connection.channel.close(promise: nil) }
    }
}
