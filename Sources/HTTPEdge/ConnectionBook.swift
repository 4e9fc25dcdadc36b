import DequeModule
public import Metrics
import NIOCore
import Synchronization

/// The open connections of one listener, and which of them may be closed to make room.
/// When a listener is at its bound, it closes the connection that has been idle longest. It refuses a new connection
/// only when every connection has a request in progress. Each client address has a smaller bound with the same rule for
/// its own connections, so that one address cannot use up the listener. A connection of a trusted proxy counts for the
/// client of the request in progress. Between two requests it counts for no client.
public final class ConnectionBook: Sendable {
    public struct Bounds: Sendable, Hashable {
        /// Maximum number of open connections.
        public var connections: Int
        /// Maximum number of open connections of one client address. It is limited to half of ``connections``.
        public var perClient: Int

        public init(connections: Int, perClient: Int) {
            self.connections = max(connections, 1)
            self.perClient = max(1, min(perClient, connections / 2))
        }
    }

    /// The reason why a new connection, or a request on a proxy's connection, is refused.
    enum Refusal: String { case full, client }
    /// The reason why a connection was closed before its client or its idle timeout ended it.
    enum Early: String {
        /// It was the longest idle connection, and a new one needed its place.
        case room
        /// It was the longest idle connection of its address, and a new one of the same address needed its place.
        case client
        /// `accept` found no file descriptor, and needed this one.
        case files
        /// No request came within the deadline.
        case silent
        /// The client did not read a reply within the deadline.
        case reader
    }

    /// A connection in the book.
    typealias ID = Int

    private struct Entry {
        let channel: any Channel
        /// Nil for a trusted proxy, and for a peer without an IP address.
        let peer: ClientAddress?
        /// The client of the request in progress, behind a trusted proxy.
        var proxied: ClientAddress?
        var isIdle = true
        /// Changes each time the connection becomes idle, so that an older place in a queue is recognised as invalid.
        var turn = 0

        var client: ClientAddress? { proxied ?? peer }
    }

    /// Idle connections, longest idle first. A place is not removed when its connection is used again: its `turn` shows
    /// that it is invalid.
    private struct IdleQueue {
        private var places: Deque<(id: ID, turn: Int)> = []

        mutating func append(_ id: ID, turn: Int, in entries: [ID: Entry]) {
            if places.count > 64, places.count > entries.count * 2 {
                places.removeAll { !Self.isGood($0, entries) }
            }
            places.append((id, turn))
        }

        mutating func popFirst(in entries: [ID: Entry]) -> ID? {
            while let place = places.popFirst() {
                if Self.isGood(place, entries) { return place.id }
            }
            return nil
        }

        private static func isGood(_ place: (id: ID, turn: Int), _ entries: [ID: Entry]) -> Bool {
            guard let entry = entries[place.id] else { return false }
            return entry.isIdle && entry.turn == place.turn
        }
    }

    private struct Client {
        var open = 0
        var idle = IdleQueue()
    }

    private struct State {
        var entries: [ID: Entry] = [:]
        var clients: [ClientAddress: Client] = [:]
        var idle = IdleQueue()
        var nextID = 0
        var lastFull: NIODeadline?
        var isSaturated = false

        mutating func count(_ client: ClientAddress?, by amount: Int) {
            guard let client else { return }
            clients[client, default: Client()].open += amount
            if let left = clients[client]?.open, left <= 0 { clients[client] = nil }
        }

        /// Removes the connection, so that it is chosen only once.
        mutating func take(_ id: ID) -> (any Channel)? {
            guard let entry = entries.removeValue(forKey: id) else { return nil }
            count(entry.client, by: -1)
            return entry.channel
        }

        mutating func becameIdle(_ id: ID) {
            guard var entry = entries[id] else { return }
            entry.isIdle = true
            entry.turn += 1
            entries[id] = entry
            idle.append(id, turn: entry.turn, in: entries)
            if let client = entry.client { clients[client]?.idle.append(id, turn: entry.turn, in: entries) }
        }
    }

    public let bounds: Bounds
    let proxies: TrustedProxies
    private let metrics: EdgeMetrics
    private let onSaturation: @Sendable (String?) -> Void
    private let state = Mutex(State())

    /// How long a listener counts as saturated after it refused a connection.
    private static let saturation = TimeAmount.seconds(5)

    /// - Parameters:
    ///   - listener: the listener's name in metrics.
    ///   - onSaturation: called with a reason when the listener begins to refuse connections because all have a request
    ///     in progress, and with nil when it has refused none for 5 s.
    public init(
        listener: String, bounds: Bounds, proxies: TrustedProxies = .init(), metrics: any MetricsFactory,
        onSaturation: @escaping @Sendable (String?) -> Void = { _ in }
    ) {
        self.bounds = bounds
        self.proxies = proxies
        self.metrics = EdgeMetrics(listener: listener, factory: metrics)
        self.onSaturation = onSaturation
        self.metrics.limit(bounds.connections)
    }

    /// Number of open connections.
    public var count: Int { state.withLock { $0.entries.count } }

    /// Adds a new connection, and closes an idle connection when there are too many.
    /// - Returns: nil when the connection is refused; the caller then closes it.
    func admit(_ channel: any Channel) -> ID? {
        let address = channel.remoteAddress
        let peer = proxies.contains(address) ? nil : ClientAddress(address)
        let (id, refusal, closing) = state.withLock { state -> (ID?, Refusal?, [(any Channel, Early)]) in
            var closing: [(any Channel, Early)] = []
            if let peer, (state.clients[peer]?.open ?? 0) >= bounds.perClient {
                guard let oldest = state.clients[peer]?.idle.popFirst(in: state.entries),
                    let channel = state.take(oldest)
                else { return (nil, .client, []) }
                closing.append((channel, .client))
            }
            if state.entries.count >= bounds.connections {
                guard let oldest = state.idle.popFirst(in: state.entries), let channel = state.take(oldest) else {
                    return (nil, .full, closing)
                }
                closing.append((channel, .room))
            }
            state.nextID += 1
            let id = state.nextID
            state.entries[id] = Entry(channel: channel, peer: peer)
            state.count(peer, by: 1)
            state.becameIdle(id)
            return (id, nil, closing)
        }
        for (channel, why) in closing { close(channel, why) }
        metrics.open(count)
        guard let id else {
            if let refusal { metrics.refused(refusal) }
            if refusal == .full { becameFull(channel.eventLoop) }
            return nil
        }
        channel.closeFuture.whenComplete { [weak self] _ in self?.gone(id) }
        return id
    }

    /// A request begins. Until ``idle(_:)``, the connection is not closed to make room for another one.
    /// - Parameter forwardedFor: lines of `X-Forwarded-For`; only those of trusted proxies count.
    /// - Returns: false when the proxy's client already has its share of requests in progress.
    func busy(_ id: ID, forwardedFor: @autoclosure () -> [String]) -> Bool {
        state.withLock { state in
            // The connection was already chosen to be closed when its request arrived.
            guard var entry = state.entries[id] else { return true }
            entry.isIdle = false
            if entry.peer == nil, entry.proxied == nil, let client = proxies.client(forwardedFor: forwardedFor()) {
                guard (state.clients[client]?.open ?? 0) < bounds.perClient else {
                    state.entries[id] = entry
                    return false
                }
                entry.proxied = client
                state.count(client, by: 1)
            }
            state.entries[id] = entry
            return true
        }
    }

    /// The last request was answered.
    func idle(_ id: ID) {
        state.withLock { state in
            if let client = state.entries[id]?.proxied {
                state.entries[id]?.proxied = nil
                state.count(client, by: -1)
            }
            state.becameIdle(id)
        }
    }

    /// Closes the connections that have been idle longest, to free their file descriptors.
    func closeIdle(_ count: Int) {
        metrics.acceptFailed()
        let channels = state.withLock { state in
            (0..<count).compactMap { _ in
                state.idle.popFirst(in: state.entries).flatMap { state.take($0) }
            }
        }
        for channel in channels { close(channel, .files) }
    }

    /// Counts an early close. The caller closes the connection.
    func note(_ early: Early) { metrics.closedEarly(early) }
    func noteRefused(_ refusal: Refusal) { metrics.refused(refusal) }

    private func close(_ channel: any Channel, _ why: Early) {
        metrics.closedEarly(why)
        channel.triggerUserOutboundEvent(ConnectionCut.Order(), promise: nil)
    }

    private func gone(_ id: ID) {
        let count = state.withLock { state in
            _ = state.take(id)
            return state.entries.count
        }
        metrics.open(count)
    }

    private func becameFull(_ loop: any EventLoop) {
        let begins = state.withLock { state in
            state.lastFull = .now()
            defer { state.isSaturated = true }
            return !state.isSaturated
        }
        guard begins else { return }
        onSaturation(
            "all \(bounds.connections) connections have a request under way: new ones are refused; raise "
                + "api.maxConnections and the limit of open files, or add a Producer")
        endSaturation(loop)
    }

    private func endSaturation(_ loop: any EventLoop) {
        loop.scheduleTask(in: Self.saturation) { [self] in
            let isOver = state.withLock { state in
                guard let last = state.lastFull, .now() - last < Self.saturation else {
                    state.isSaturated = false
                    return true
                }
                return false
            }
            if isOver { onSaturation(nil) } else { endSaturation(loop) }
        }
    }
}
