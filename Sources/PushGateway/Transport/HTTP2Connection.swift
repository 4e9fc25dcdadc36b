import Logging
import NIOCore
import NIOTLS

/// Why a connection ended, when it was not asked to.
enum ConnectionFault: Error, CustomStringConvertible {
    case notHTTP2(String?)
    case pingUnanswered
    case connectTimeout
    case endedByPeer
    case aborted

    var description: String {
        switch self {
        case .notHTTP2(let other): "the peer agreed to \(other ?? "no protocol") in the TLS handshake, not to h2"
        case .pingUnanswered: "no answer to PING in time"
        case .connectTimeout: "no TCP connection, TLS handshake and SETTINGS in time"
        case .endedByPeer: "the peer closed the connection"
        case .aborted: "closed here before the outstanding requests were answered"
        }
    }
}

/// One connection: the channel handler behind TLS that feeds an ``HTTP2Session``.
///
/// Its life: `connecting` (TCP, TLS) → `settling` (until the peer's SETTINGS) → `ready` → `draining` (GOAWAY, repeated
/// timeouts, or asked to: nothing new, what is open ends) → `closed`.
final class HTTP2Connection: ChannelInboundHandler, @unchecked Sendable {
    // Guarantee: touched only on the event loop of its channel, which is the pool's.
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Phase { case connecting, settling, ready, draining, closed }

    private(set) var phase = Phase.connecting
    private let pool: ConnectionPool
    private let settings: ConnectionPool.Settings
    private var session: HTTP2Session?
    private var context: ChannelHandlerContext?
    private var fault: (any Error)?
    /// Filled while the ended requests of one batch are handed on; kept for its capacity.
    private var batch: [(request: OutboundRequest, end: HTTP2Session.End)] = []
    private var isDelivering = false

    /// Answers on this connection; 0: it has proved nothing yet.
    private(set) var answers = 0
    /// A provider that checks a token per request allows one stream until it has accepted one (Apple, "Establishing a
    /// token-based connection to APNs").
    private(set) var isProven: Bool
    private var readyAt = NIODeadline.distantFuture
    private var timeoutsInARow = 0
    private var life = ConnectionLife()
    private var needsFlush = false

    init(pool: ConnectionPool) {
        self.pool = pool
        settings = pool.settings
        isProven = !settings.firstStreamAlone
    }

    deinit { assert(phase == .closed, "a connection went without being closed") }

    var openStreams: Int { session?.openStreams ?? 0 }

    /// Requests that may be opened now.
    var room: Int {
        guard phase == .ready, let session, let context, context.channel.isWritable else { return 0 }
        if !isProven { return session.openStreams == 0 ? min(1, session.peerStreamLimit) : 0 }
        return min(session.peerStreamLimit, settings.streamsPerConnection) - session.openStreams
    }

    /// The peer's SETTINGS say so; later ones may say otherwise.
    var allowsNoStreams: Bool { session?.peerStreamLimit == 0 }

    /// Ready, but for its first answer, which may still come soon.
    var isProving: Bool { phase == .ready && !isProven && .now() - readyAt < settings.proofPatience }

    // MARK: Asked by the pool

    /// Opens a stream; the bytes leave with the next ``flush()``. False: the request is as it was, and this connection
    /// drains.
    func open(_ request: OutboundRequest) -> Bool {
        guard phase == .ready, let session else { return false }
        guard session.open(request) else {
            drain()
            return false
        }
        needsFlush = true
        if session.isNearlyUsedUp { phase = .draining }
        return true
    }

    /// Writes what waits, in one go.
    func flush() {
        guard needsFlush else { return }
        needsFlush = false
        write()
    }

    /// Nothing new on this connection; it closes when what is open has ended.
    func drain() {
        switch phase {
        case .ready:
            phase = .draining
            closeIfDrained()
        case .connecting, .settling:
            fail(ConnectionFault.aborted)
        case .draining, .closed:
            break
        }
    }

    func abort() { fail(ConnectionFault.aborted) }

    /// Ends the requests whose deadline has come and gives their slots back. - Returns: the earliest deadline left.
    func expire(_ now: NIODeadline) -> NIODeadline {
        guard let session else { return .distantFuture }
        var earliest = NIODeadline.distantFuture
        var due: [OutboundRequest] = []
        for case let request? in session.streams where request.state == .open {
            if request.deadline <= now { due.append(request) } else { earliest = min(earliest, request.deadline) }
        }
        for request in due {
            request.state = .ended
            session.cancel(request)
            // nghttp2 keeps back what the peer does not allow yet: of that nothing has left.
            guard request.sentAtMs > 0 else {
                pool.ended(request, .unsent)
                continue
            }
            timeoutsInARow += 1
            pool.ended(request, .timedOut)
        }
        if !due.isEmpty {
            write()
            if timeoutsInARow >= settings.timeoutsBeforeDrain, phase == .ready {
                pool.logger.warning(
                    "push connection drained: streams went unanswered",
                    metadata: ["host": "\(pool.endpoint)", "in-a-row": "\(timeoutsInARow)"])
                drain()
            }
            // A draining one may just have lost its last stream, and nothing comes any more that would show it.
            closeIfDrained()
        }
        return earliest
    }

    /// PING where silence is suspicious or long, and the end of a connection that does not answer one.
    func checkLife(after elapsed: TimeAmount) {
        guard phase == .ready || phase == .draining, let session else { return }
        let patience = session.openStreams > 0 ? settings.pingAfterSilence : settings.pingAfterIdle
        switch life.look(after: elapsed, patience: patience, deadline: settings.pingDeadline) {
        case .alive: break
        case .ask:
            session.ping()
            write()
        case .dead: fail(ConnectionFault.pingUnanswered)
        }
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        fail(ConnectionFault.endedByPeer)
        self.context = nil
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent, phase == .connecting {
            guard negotiated == "h2" else { return fail(ConnectionFault.notHTTP2(negotiated)) }
            do {
                session = try HTTP2Session(authority: pool.endpoint.authority)
                phase = .settling
                write()
            } catch { fail(error) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let session, phase != .closed else { return }
        do {
            try unwrapInboundIn(data).withUnsafeReadableBytes { try session.receive($0) }
        } catch {
            // The session has queued a GOAWAY that says why.
            write()
            fail(error)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        guard let session, phase != .closed else { return }
        life.received()
        if phase == .settling, session.hasSettings {
            phase = .ready
            readyAt = .now()
            pool.becameReady(self)
        }
        if let goaway = session.goaway, phase == .ready {
            phase = .draining
            pool.receivedGoaway(self, code: goaway.code)
        }
        deliver()
        needsFlush = true
        pool.pump()
        flush()
        closeIfDrained()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            write()
            closeIfDrained()
            pool.pump()
        }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(fault ?? ConnectionFault.endedByPeer)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // TLS reports an end without close_notify here, before `channelInactive`.
        fault = fault ?? error
        fail(error)
    }

    // MARK: Within

    private func write() {
        guard let session, let context, phase != .closed else { return }
        // What a peer makes us answer (PING, SETTINGS) stays in nghttp2, which bounds it, while the socket takes
        // nothing.
        guard context.channel.isWritable else { return }
        var buffer = context.channel.allocator.buffer(capacity: 16_384)
        do {
            try session.send(into: &buffer, nowMs: pool.clock.nowMs())
        } catch {
            return fail(error)
        }
        if buffer.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(buffer), promise: nil) }
        if !session.ended.isEmpty { deliver() }
        if session.isFinished, phase != .closed { fail(ConnectionFault.endedByPeer) }
    }

    /// Hands on what the callbacks recorded.
    private func deliver() {
        guard !isDelivering, let session else { return }
        isDelivering = true
        defer { isDelivering = false }
        while !session.ended.isEmpty {
            session.takeEnded(into: &batch)
            for (request, end) in batch {
                switch end {
                case .answered:
                    answers += 1
                    timeoutsInARow = 0
                    if request.status != 403 { isProven = true }
                    pool.answered(request)
                case .beyondGoaway, .refused, .unsent:
                    pool.comeBack(request, end)
                case .reset:
                    pool.ended(request, .reset)
                }
            }
            batch.removeAll(keepingCapacity: true)
        }
    }

    private func closeIfDrained() {
        guard phase == .draining, let session, session.openStreams == 0 else { return }
        session.terminate()
        write()
        fail(nil)
    }

    /// The one way into `closed`. What was open and unsent goes back, what was sent is lost.
    private func fail(_ error: (any Error)?) {
        guard phase != .closed else { return }
        deliver()
        let before = phase
        phase = .closed
        let left = session?.abandon() ?? []
        session = nil
        context?.close(promise: nil)
        for request in left {
            if request.sentAtMs == 0 {
                pool.comeBack(request, .unsent)
            } else {
                request.state = .ended
                pool.ended(request, .connectionLost)
            }
        }
        pool.closed(self, in: before, error: error)
    }
}
