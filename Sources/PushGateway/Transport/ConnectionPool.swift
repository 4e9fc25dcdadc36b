import DequeModule
import Logging
import NIOCore
import Synchronization

/// The connections of one credential to one provider host on one event loop, and the requests that wait for one.
///
/// `submit` may be called from any thread; all else happens on the loop. Every request ends exactly once, through its
/// `completion`, on the loop.
final class ConnectionPool: @unchecked Sendable {
    // Guarantee: everything but `inbox` and constants is touched on `loop` only.

    struct Settings: Sendable {
        var maxConnections = 8
        /// Our own bound beside the peer's.
        var streamsPerConnection = 1000
        /// See ``HTTP2Connection``.
        var firstStreamAlone = false
        /// How long the first stream of a connection may stay unanswered before others are opened beside it: a peer
        /// that never answers that one must not hold up all that wait.
        var proofPatience = TimeAmount.seconds(1)
        /// Streams in a row that reach their deadline unanswered before the connection is given up.
        var timeoutsBeforeDrain = 5
        /// Nothing received for this long with streams open: PING.
        var pingAfterSilence = TimeAmount.seconds(2)
        /// Nothing received for this long without open streams: PING. A NAT or firewall forgets a silent connection
        /// after five minutes or so, without a word to either side.
        var pingAfterIdle = TimeAmount.minutes(4)
        var pingDeadline = TimeAmount.seconds(4)
        /// Times one request goes to another connection because it was not processed. It is safe as often as its
        /// deadline allows; the bound is for a peer that refuses everything.
        var mostResends = 100
    }

    /// What has less left than this is not sent any more: between here and the socket lie the rest of the batch and
    /// TLS, and nothing may leave at or after its expiry.
    static let expiryMarginMs: Int64 = 50

    /// A tick that comes this late finds sockets that were not read for as long.
    static let standstill = TimeAmount.milliseconds(250)

    let loop: any EventLoop
    let endpoint: Endpoint
    let settings: Settings
    let clock: GatewayClock
    let logger: Logger
    private let connector: Connector
    private let counters: TransportCounters

    private struct Inbox {
        var requests: [OutboundRequest] = []
        var isWoken = false
    }
    private let inbox = Mutex(Inbox())
    /// The other half of the inbox's double buffer.
    private var arrivals: [OutboundRequest] = []

    private var waiting: Deque<OutboundRequest> = []
    private var connections: [HTTP2Connection] = []
    private var attempts: [ObjectIdentifier: ConnectAttempt] = [:]
    private var backoff = ReconnectBackoff.connections
    private var refusals = ReconnectBackoff.refusals
    private var failedAddresses: Set<SocketAddress> = []
    private var nextAddress = Int.random(in: 0..<1024)
    private var nextDeadline = NIODeadline.distantFuture
    private var lastLifeCheck = NIODeadline.now()
    private var lastArrival = NIODeadline.uptimeNanoseconds(0)
    private var tick: (task: Scheduled<Void>, isSlow: Bool)?
    private var hasStoodStill = false
    private var isPumping = false
    private var isClosing = false
    private var isAborted = false
    private let closedPromise: EventLoopPromise<Void>

    init(
        loop: any EventLoop, endpoint: Endpoint, settings: Settings, connector: Connector, clock: GatewayClock,
        counters: TransportCounters, logger: Logger
    ) {
        self.loop = loop
        self.endpoint = endpoint
        self.settings = settings
        self.connector = connector
        self.clock = clock
        self.counters = counters
        self.logger = logger
        closedPromise = loop.makePromise()
    }

    // MARK: From any thread

    /// Takes a request. Callers bound how many are outstanding.
    func submit(_ request: OutboundRequest) {
        let mustWake = inbox.withLock { inbox in
            inbox.requests.append(request)
            if inbox.isWoken { return false }
            inbox.isWoken = true
            return true
        }
        if mustWake { loop.execute { self.takeArrivals() } }
    }

    /// Closes when what is outstanding has ended.
    func drain() -> EventLoopFuture<Void> {
        loop.execute {
            self.isClosing = true
            self.closeIfIdle()
        }
        return closedPromise.futureResult
    }

    /// Ends what is outstanding and closes.
    func abort() -> EventLoopFuture<Void> {
        loop.execute {
            self.isClosing = true
            self.isAborted = true
            for attempt in self.attempts.values { attempt.cancel() }
            for connection in self.connections { connection.abort() }
            self.failWaiting()
            self.closeIfIdle()
        }
        return closedPromise.futureResult
    }

    // MARK: Requests

    private func takeArrivals() {
        inbox.withLock { inbox in
            swap(&inbox.requests, &arrivals)
            inbox.isWoken = false
        }
        let now = NIODeadline.now()
        for request in arrivals {
            // Its access token took so long.
            guard request.deadline > now else {
                ended(request, .withdrawn)
                continue
            }
            nextDeadline = min(nextDeadline, request.deadline)
            waiting.append(request)
        }
        arrivals.removeAll(keepingCapacity: true)
        lastArrival = now
        if isAborted { failWaiting() }
        pump()
    }

    /// Puts waiting requests on connections, opens more if they do not suffice, and flushes each connection once.
    func pump() {
        guard !isPumping else { return }
        isPumping = true
        defer {
            isPumping = false
            scheduleTick()
        }
        if !waiting.isEmpty {
            let nowMs = clock.nowMs()
            while let request = waiting.first {
                if request.expiresAtMs - nowMs <= Self.expiryMarginMs {
                    waiting.removeFirst()
                    ended(request, .expired)
                    continue
                }
                guard request.mayLeave(nowMs: nowMs) else {
                    waiting.removeFirst()
                    ended(request, .withdrawn)
                    continue
                }
                guard let connection = roomiest() else { break }
                waiting.removeFirst()
                if !connection.open(request) { waiting.prepend(request) }
            }
        }
        connectAsNeeded()
        for connection in connections { connection.flush() }
        if isClosing { closeIfIdle() }
    }

    /// The connection with the most free streams: bursts spread, and a slow connection gets less.
    private func roomiest() -> HTTP2Connection? {
        var best: HTTP2Connection?
        var most = 0
        for connection in connections {
            let room = connection.room
            if room > most { (best, most) = (connection, room) }
        }
        return best
    }

    func answered(_ request: OutboundRequest) {
        backoff.succeeded()
        refusals.succeeded()
        ended(request, .answered)
    }

    func ended(_ request: OutboundRequest, _ end: RequestEnd) {
        if end == .timedOut { counters.timeouts.add(1, ordering: .relaxed) }
        request.state = .ended
        request.completion(request, end)
    }

    /// The peer did not process it, or it never left: it goes to another connection, before the others.
    func comeBack(_ request: OutboundRequest, _ end: HTTP2Session.End) {
        request.rewind()
        request.resends += 1
        let isSecondReset = end == .refused && request.wasRefusedByReset
        if end == .refused { request.wasRefusedByReset = true }
        guard !isSecondReset, request.resends <= settings.mostResends else {
            let now = NIODeadline.now()
            refusals.failed(now: now, random: .random(in: 0..<1))
            request.retryAfterRefusalMs = (refusals.readyAt - now).nanoseconds / 1_000_000
            return ended(request, .refused)
        }
        counters.resends.add(1, ordering: .relaxed)
        waiting.prepend(request)
    }

    private func failWaiting() {
        let all = waiting
        waiting.removeAll(keepingCapacity: true)
        for request in all { ended(request, .unsent) }
    }

    // MARK: Connections

    private func connectAsNeeded() {
        let live = connections.count { $0.phase == .ready }
        // On their way: those being opened, and those whose first stream is not answered yet.
        let coming = attempts.count + connections.count { $0.isProving }
        // One connection is kept warm while pushes come at all, so that the first after a GOAWAY need not wait for TLS.
        let isCold = live == 0 && attempts.isEmpty && !isClosing && .now() - lastArrival < .minutes(1)
        guard !waiting.isEmpty || isCold else { return }
        // What is being opened will take about this many each.
        guard coming == 0 || waiting.count > coming * 500, live + attempts.count < settings.maxConnections,
            connections.count + attempts.count < settings.maxConnections * 2
        else { return }
        let now = NIODeadline.now()
        if backoff.readyAt > now {
            // Soon: they can wait, the tick looks again. Later: the caller knows better what to do meanwhile.
            if live == 0, attempts.isEmpty, backoff.readyAt - now > .milliseconds(250) { failWaiting() }
            return
        }
        openConnection()
        connectAsNeeded()
    }

    private func openConnection() {
        nextAddress &+= 1
        let attempt = ConnectAttempt(pool: self, connector: connector, first: nextAddress, avoiding: failedAddresses)
        attempts[ObjectIdentifier(attempt)] = attempt
        attempt.start()
    }

    func attemptFailed(_ attempt: ConnectAttempt, _ error: any Error) {
        guard attempts.removeValue(forKey: ObjectIdentifier(attempt)) != nil else { return }
        guard !isClosing else { return closeIfIdle() }
        counters.connectFailures.add(1, ordering: .relaxed)
        backoff.failed(now: .now(), random: .random(in: 0..<1))
        logger.warning("no connection to the provider", metadata: ["host": "\(endpoint)", "error": "\(error)"])
        // What took a whole connect timeout is not worth another. What was refused at once may be a restart: the next
        // attempts follow within a moment, and `connectAsNeeded` gives up when the back-off has grown.
        if attempts.isEmpty, !connections.contains(where: { $0.phase == .ready }), attempt.isTooSlow { failWaiting() }
        pump()
    }

    func attemptSucceeded(_ attempt: ConnectAttempt, _ connection: HTTP2Connection, _ address: SocketAddress) {
        attempts.removeValue(forKey: ObjectIdentifier(attempt))
        failedAddresses.remove(address)
        counters.connectionsOpened.add(1, ordering: .relaxed)
        counters.connections.add(1, ordering: .relaxed)
        connections.append(connection)
        logger.info("connected to the provider", metadata: ["host": "\(endpoint)", "address": "\(address)"])
        if isClosing, waiting.isEmpty { connection.drain() }
    }

    func addressFailed(_ address: SocketAddress) {
        if failedAddresses.count >= 32 { failedAddresses.removeAll() }
        failedAddresses.insert(address)
    }

    /// The peer's SETTINGS are there.
    func becameReady(_ connection: HTTP2Connection) {
        if connection.allowsNoStreams {
            logger.warning(
                "the provider allows no streams on a connection: pushes wait, and are deferred at their deadline",
                metadata: ["host": "\(endpoint)", "max-concurrent-streams": "0"])
        }
        for attempt in attempts.values where attempt.connection === connection { attempt.becameReady() }
    }

    func receivedGoaway(_ connection: HTTP2Connection, code: UInt32) {
        counters.goaways.add(1, ordering: .relaxed)
        logger.info(
            "the provider ends a connection: what is open ends, the rest goes to another",
            metadata: ["host": "\(endpoint)", "code": "\(code)", "open": "\(connection.openStreams)"])
    }

    func closed(_ connection: HTTP2Connection, in phase: HTTP2Connection.Phase, error: (any Error)?) {
        for attempt in attempts.values where attempt.connection === connection {
            attempt.connectionEnded(error ?? ConnectionFault.endedByPeer)
        }
        guard let index = connections.firstIndex(where: { $0 === connection }) else { return }
        connections.remove(at: index)
        counters.connections.subtract(1, ordering: .relaxed)
        // Opened, and ended without an answer: as useless as one that was never opened.
        if connection.answers == 0, !isClosing { backoff.failed(now: .now(), random: .random(in: 0..<1)) }
        if let error, phase == .ready, !isClosing {
            counters.connectionsLost.add(1, ordering: .relaxed)
            logger.warning("connection to the provider lost", metadata: ["host": "\(endpoint)", "error": "\(error)"])
        }
        loop.execute { self.pump() }
    }

    private func closeIfIdle() {
        guard isClosing, waiting.isEmpty, inbox.withLock({ $0.requests.isEmpty }) else { return }
        for connection in connections { connection.drain() }
        guard connections.isEmpty, attempts.isEmpty else { return }
        tick?.task.cancel()
        tick = nil
        closedPromise.succeed()
    }

    // MARK: Time

    /// Every 25 ms while anything is outstanding, else every second for the PING of idle connections.
    private func scheduleTick() {
        let isBusy = !waiting.isEmpty || connections.contains { $0.openStreams > 0 }
        if let tick {
            guard tick.isSlow, isBusy else { return }
            tick.task.cancel()
        } else if !isBusy, connections.isEmpty {
            return
        }
        let due = NIODeadline.now() + (isBusy ? .milliseconds(25) : .seconds(1))
        tick = (loop.scheduleTask(deadline: due) { self.ticked(due) }, !isBusy)
    }

    private func ticked(_ due: NIODeadline) {
        tick = nil
        let now = NIODeadline.now()
        // The loop, or the whole process, stood still: answers that came meanwhile wait in the sockets, and are read
        // before the next tick. Once: a loop that is always late keeps its deadlines all the same.
        hasStoodStill = !hasStoodStill && now - due > Self.standstill
        guard !hasStoodStill else { return scheduleTick() }
        if now >= nextDeadline { expire(now) }
        if now - lastLifeCheck >= .milliseconds(250) {
            for connection in connections { connection.checkLife(after: now - lastLifeCheck) }
            lastLifeCheck = now
        }
        pump()
    }

    private func expire(_ now: NIODeadline) {
        nextDeadline = .distantFuture
        for connection in connections { nextDeadline = min(nextDeadline, connection.expire(now)) }
        let overdue = waiting.filter { $0.deadline <= now }
        if !overdue.isEmpty {
            waiting.removeAll { $0.deadline <= now }
            let nowMs = clock.nowMs()
            for request in overdue {
                ended(request, request.expiresAtMs - nowMs <= Self.expiryMarginMs ? .expired : .unsent)
            }
        }
        for request in waiting { nextDeadline = min(nextDeadline, request.deadline) }
    }
}
