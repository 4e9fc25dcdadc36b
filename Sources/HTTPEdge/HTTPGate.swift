import NIOCore
import NIOHTTP1

/// The handler between the HTTP/1 codec and the server. It accepts only what RFC 9112 allows, ends connections as RFC
/// 9112 requires, applies the deadlines of a connection, sends refusals, and adds `Date` to replies.
final class HTTPGate: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    struct Deadlines: Sendable {
        var head: TimeAmount
        var body: TimeAmount
        var response: TimeAmount
    }

    private enum Part { case head, body }

    private let deadlines: Deadlines
    private let book: ConnectionBook
    private let id: ConnectionBook.ID
    private let refuse: @Sendable (HTTPRefusal) -> HTTPRefusalReply
    private var state = ConnectionState()
    /// The part of a request that must arrive, and its deadline.
    private var reading: (what: Part, until: NIODeadline)?
    /// The number of the reply that the client must read, and its deadline.
    private var writing: (reply: Int, until: NIODeadline)?
    private var replies = 0
    /// One timer for all deadlines of reading and writing. It fires at or before the earliest deadline and is set again
    /// only then, so a request in time neither sets nor cancels a timer.
    private var timer: (task: Scheduled<Void>, at: NIODeadline)?
    private var closing: Scheduled<Void>?
    /// Number of bytes that were read after the last request and dropped.
    private var dropped = 0
    private var isInputClosed = false
    private var isLingering = false
    /// The promises of callers that close the connection while it is already closing.
    private var closePromises: [EventLoopPromise<Void>] = []

    /// Time for a client to read the last reply and to close the connection. Bytes that arrive during this time are
    /// dropped. A socket that is closed with unread bytes is reset, and the reset can overtake the reply (RFC 9112,
    /// section 9.6).
    private static let linger = TimeAmount.seconds(2)
    private static let mostDropped = 1 << 20

    init(
        deadlines: Deadlines, book: ConnectionBook, id: ConnectionBook.ID,
        refuse: @escaping @Sendable (HTTPRefusal) -> HTTPRefusalReply
    ) {
        self.deadlines = deadlines
        self.book = book
        self.id = id
        self.refuse = refuse
    }

    func handlerAdded(context: ChannelHandlerContext) {
        expect(.head, within: deadlines.head, context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        cancel()
        context.fireChannelInactive()
    }

    // MARK: - In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            reading = nil
            guard state.takesHead else { return }
            if let why = ConnectionState.refusal(of: head) { return broken(context, why) }
            guard book.busy(id, forwardedFor: head.headers["X-Forwarded-For"]) else {
                book.noteRefused(.client)
                return broken(context, .clientShare)
            }
            state.take(head)
            expect(.body, within: deadlines.body, context)
            context.fireChannelRead(data)
        case .body(let bytes):
            if state.body() { return context.fireChannelRead(data) }
            drop(context, bytes.readableBytes)
        case .end:
            guard state.end() else { return }
            reading = nil
            context.fireChannelRead(data)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        // No later handler asks for more bytes.
        if state.isClosing { context.read() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else { return context.fireErrorCaught(error) }
        if state.isClosing { return drop(context, 1) }
        broken(context, HTTPRefusal(error))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent { state.quiesce() }
        if let event = event as? ChannelEvent, event == .inputClosed {
            isInputClosed = true
            if isLingering { return finish(context) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func broken(_ context: ChannelHandlerContext, _ why: HTTPRefusal) {
        reading = nil
        switch state.broken(why) {
        case .ignore: break
        case .tellReader: context.fireErrorCaught(why)
        case .close:
            closing = schedule(context, Self.linger) { gate, context in gate.finish(context) }
            linger(context)
        case .answer:
            _ = book.busy(id, forwardedFor: [])
            answerRefusal(context)
        }
    }

    private func drop(_ context: ChannelHandlerContext, _ bytes: Int) {
        dropped += bytes
        if state.isClosing, dropped > Self.mostDropped { finish(context) }
    }

    // MARK: - Out

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard !state.isClosing else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        switch unwrapOutboundIn(data) {
        case .head(var head):
            head.headers.replaceOrAdd(name: "Date", value: HTTPDate.now)
            if state.replyHead(closes: !head.isKeepAlive) {
                head.headers.replaceOrAdd(name: "Connection", value: "close")
            }
            replies += 1
            writing = (replies, context.eventLoop.now + deadlines.response)
            setTimer(context)
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .body: context.write(data, promise: promise)
        case .end:
            let next = state.replyEnd()
            writeEnd(context, data, promise, closes: next == .close)
            if next == .becameIdle { book.idle(id) }
            if next == .goOn { answerRefusal(context) }
        }
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard event is BodyIsWanted else { return context.triggerUserOutboundEvent(event, promise: promise) }
        if state.wantsBody() {
            let head = HTTPResponseHead(version: .http1_1, status: .continue)
            context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
        }
        promise?.succeed()
    }

    /// The server closes when its stream of requests has ended. The last reply is sent first.
    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard state.isClosing, mode != .input, closing != nil else {
            return context.close(mode: mode, promise: promise)
        }
        if let promise { closePromises.append(promise) }
    }

    private func answerRefusal(_ context: ChannelHandlerContext) {
        guard let why = state.nextRefusal() else { return }
        let reply = refuse(why)
        var headers = reply.headers
        headers.replaceOrAdd(name: "Content-Length", value: "\(reply.body.count)")
        headers.replaceOrAdd(name: "Connection", value: "close")
        headers.replaceOrAdd(name: "Date", value: HTTPDate.now)
        let head = HTTPResponseHead(version: .http1_1, status: why.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: reply.body)))), promise: nil)
        writeEnd(context, wrapOutboundOut(.end(nil)), nil, closes: true)
        context.flush()
    }

    private func writeEnd(
        _ context: ChannelHandlerContext, _ data: NIOAny, _ promise: EventLoopPromise<Void>?, closes: Bool
    ) {
        let taken = promise ?? context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        if closes {
            // The timer starts now, so that a close that comes before the reply was sent waits for the reply.
            closing = schedule(context, deadlines.response + Self.linger) { gate, context in gate.finish(context) }
        }
        taken.futureResult.whenComplete { [reply = writing?.reply] _ in
            let (gate, context) = bound.value
            if gate.writing?.reply == reply { gate.writing = nil }
            if closes { gate.linger(context) }
        }
        context.write(data, promise: taken)
        if closes { context.flush() }
    }

    // MARK: - The end

    /// Call it after the last reply was sent. Nothing more is sent, and incoming bytes are dropped until the client
    /// closes or the time is over.
    private func linger(_ context: ChannelHandlerContext) {
        guard closing != nil, !isLingering else { return }
        isLingering = true
        if isInputClosed { return finish(context) }
        closing?.cancel()
        closing = schedule(context, Self.linger) { gate, context in gate.finish(context) }
        book.idle(id)
        context.close(mode: .output, promise: nil)
        context.read()
    }

    private func finish(_ context: ChannelHandlerContext) {
        closing?.cancel()
        closing = nil
        let promise = context.eventLoop.makePromise(of: Void.self)
        for other in closePromises { promise.futureResult.cascade(to: other) }
        closePromises = []
        context.close(mode: .all, promise: promise)
    }

    // MARK: - Deadlines

    private func expect(_ part: Part, within time: TimeAmount, _ context: ChannelHandlerContext) {
        reading = (part, context.eventLoop.now + time)
        setTimer(context)
    }

    private func setTimer(_ context: ChannelHandlerContext) {
        let until = min(reading?.until ?? .distantFuture, writing?.until ?? .distantFuture)
        guard until != .distantFuture else { return }
        if let timer, timer.at <= until { return }
        timer?.task.cancel()
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let task = context.eventLoop.scheduleTask(deadline: until) {
            let (gate, context) = bound.value
            gate.timerCameDue(context)
        }
        timer = (task, until)
    }

    private func timerCameDue(_ context: ChannelHandlerContext) {
        timer = nil
        let now = context.eventLoop.now
        if let late = reading, late.until <= now {
            reading = nil
            switch late.what {
            case .head:
                book.note(.silent)
                return context.close(promise: nil)
            case .body: broken(context, .bodyDeadline)
            }
        }
        if let late = writing, late.until <= now {
            writing = nil
            book.note(.reader)
            return context.close(promise: nil)
        }
        setTimer(context)
    }

    private func schedule(
        _ context: ChannelHandlerContext, _ time: TimeAmount,
        _ body: @escaping @Sendable (HTTPGate, ChannelHandlerContext) -> Void
    ) -> Scheduled<Void> {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        return context.eventLoop.scheduleTask(in: time) {
            let (gate, context) = bound.value
            body(gate, context)
        }
    }

    private func cancel() {
        timer?.task.cancel()
        closing?.cancel()
        (reading, writing, timer, closing) = (nil, nil, nil, nil)
        let promises = closePromises
        closePromises = []
        for promise in promises { promise.succeed() }
    }
}

@available(*, unavailable)
extension HTTPGate: Sendable {}
