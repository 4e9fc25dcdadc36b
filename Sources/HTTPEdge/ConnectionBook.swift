import DequeModule
public import Metrics
import NIOCore
import Synchronization

/// The open connections of one listener, and which of them may be closed to make room.
///
/// At its bound a listener closes the connection that has been idle longest; only when every connection has a request under way
/// is a new one refused. A client address has a smaller bound of its own, with the same rule among its own connections, so that
/// one address cannot use up the listener. A connection of a trusted proxy counts for the client of the request under way, and
/// between two requests for nobody.
public final class ConnectionBook: Sendable {
    public struct Bounds: Sendable, Hashable {
        /// Connections open at once.
        public var connections: Int
        /// Of them, of one client address: at most half, whatever was asked for.
        public var perClient: Int

        public init(connections: Int, perClient: Int) {
            self.connections = max(connections, 1)
            self.perClient = max(1, min(perClient, connections / 2))
        }
    }

    /// Why a new connection, or a request of a proxy's connection, is refused.
    enum Refusal: String { case full, client }
    /// Why a connection was closed before its client or its idle time ended it.
    enum Early: String {
        /// The longest idle connection, for a new one.
        case room
        /// The longest idle connection of its address, for a new one of the same address.
        case client
        /// For a file descriptor: `accept` found none.
        case files
        /// No request came within the deadline.
        case silent
        /// A reply was not taken within the deadline.
        case reader
    }

    /// A connection in the book.
    typealias ID = Int

    private struct Entry {
        let channel: any Channel
        /// Nil: a trusted proxy, or no IP address.
        let peer: ClientAddress?
        /// Of the request under way.
        var proxied: ClientAddress?
        var isIdle = true
        /// Changes with each turn to idle, so that an older place in a queue is known to be void.
        var turn = 0

        var client: ClientAddress? { proxied ?? peer }
    }

    /// The idle ones, longest first. Places are not removed when a connection is used again: their turn tells that they are void.
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

        /// Takes the connection out, so that it is chosen once.
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

    /// How long a listener that refused a connection counts as saturated.
    private static let saturation = TimeAmount.seconds(5)

    /// - Parameters:
    ///   - listener: names it in metrics.
    ///   - onSaturation: a reason when the listener begins to refuse connections because all have a request under way; nil once it
    ///     has refused none for 5 s.
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

    /// Connections open.
    public var count: Int { state.withLock { $0.entries.count } }

    /// Takes a new connection into the book, and closes an idle one when there are too many.
    /// - Returns: nil when it was refused: then the caller closes it.
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

    /// A request begins. The connection is closed for no other one until ``idle(_:)``.
    /// - Parameter forwardedFor: lines of `X-Forwarded-For`, believed from trusted proxies only.
    /// - Returns: false when the proxy's client has its share under way already.
    func busy(_ id: ID, forwardedFor: @autoclosure () -> [String]) -> Bool {
        state.withLock { state in
            // Chosen to be closed a moment ago: its request is on its way, and so is the end.
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

    /// The last request is answered.
    func idle(_ id: ID) {
        state.withLock { state in
            if let client = state.entries[id]?.proxied {
                state.entries[id]?.proxied = nil
                state.count(client, by: -1)
            }
            state.becameIdle(id)
        }
    }

    /// Closes the longest idle connections, so that their file descriptors come back.
    func closeIdle(_ count: Int) {
        metrics.acceptFailed()
        let channels = state.withLock { state in
            (0..<count).compactMap { _ in
                state.idle.popFirst(in: state.entries).flatMap { state.take($0) }
            }
        }
        for channel in channels { close(channel, .files) }
    }

    /// Counts; the caller closes.
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
