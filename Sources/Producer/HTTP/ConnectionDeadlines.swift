import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Closes connections that are slow on purpose: a first request that does not come, a body that trickles, a reply that nobody
/// takes. What is idle between two requests is Hummingbird's to close.
final class ConnectionDeadlines: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let head: TimeAmount
    private let body: TimeAmount
    private let response: TimeAmount
    private var reading: Scheduled<Void>?
    private var writing: Scheduled<Void>?

    /// - Parameters:
    ///   - head: from the connection to its first request's head, TLS included.
    ///   - body: from a head to the end of its body.
    ///   - response: from a reply's head to its last byte taken by the socket.
    init(head: TimeAmount, body: TimeAmount, response: TimeAmount) {
        self.head = head
        self.body = body
        self.response = response
    }

    func handlerAdded(context: ChannelHandlerContext) {
        reading = close(context.channel, in: head)
    }

    func handlerRemoved(context: ChannelHandlerContext) { cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            reading?.cancel()
            reading = close(context.channel, in: body)
        case .body: break
        case .end:
            reading?.cancel()
            reading = nil
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head:
            writing?.cancel()
            let deadline = close(context.channel, in: response)
            writing = deadline
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        case .end:
            let taken = promise ?? context.eventLoop.makePromise(of: Void.self)
            if let writing { taken.futureResult.whenComplete { _ in writing.cancel() } }
            context.write(data, promise: taken)
        }
    }

    private func close(_ channel: any Channel, in time: TimeAmount) -> Scheduled<Void> {
        channel.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
    }

    private func cancel() {
        reading?.cancel()
        writing?.cancel()
        reading = nil
        writing = nil
    }
}
