import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOTLS
public import PushProviders
import Wire

/// What a TLS handshake shows. Nothing is sent over the connection.
public enum TLSLook: Sendable, Hashable {
    /// It ends well.
    /// - Parameter applicationProtocol: what the peer has chosen of `h2`; nil: nothing.
    case good(applicationProtocol: String?)
    /// A certificate is at fault; the text says whose, and why.
    case certificate(String)
    /// The name has no address.
    case noAddress(String)
    /// The connection is refused, cut or not answered.
    case unreachable(String)

    /// Shakes hands with any server that speaks TLS.
    /// - Parameters:
    ///   - caFile: PEM of the only roots that are trusted; nil: the system's.
    ///   - patience: for the whole look.
    /// - Throws: ``PushGatewayError`` when the CA file is not usable.
    public static func at(host: String, port: Int, caFile: String?, patience: Duration) async throws -> TLSLook {
        var connector = try Connector(caFile: caFile)
        connector.timeout = TimeAmount(patience)
        return await connector.look(
            Endpoint(host: host, port: port), on: MultiThreadedEventLoopGroup.singleton.any())
    }
}

/// The time that a provider says it is.
public struct ProviderDate: Sendable, Hashable {
    /// The header `Date` of an answer in epoch milliseconds, whole seconds.
    public let dateMs: Int64
    /// By our clock, in epoch milliseconds.
    public let sentAtMs: Int64
    public let receivedAtMs: Int64

    public init(dateMs: Int64, sentAtMs: Int64, receivedAtMs: Int64) {
        self.dateMs = dateMs
        self.sentAtMs = sentAtMs
        self.receivedAtMs = receivedAtMs
    }
}

extension PushGateway {
    /// Shakes hands with an endpoint on the way that pushes and token requests take, the proxy included.
    public func look(at endpoint: ProviderEndpoint, patience: Duration) async -> TLSLook {
        let target: Endpoint
        do {
            target = try Endpoint(tokenURL: configuration[endpoint])
        } catch {
            return .unreachable("\(error)")
        }
        var connector = connector
        connector.timeout = TimeAmount(patience)
        return await connector.look(target, on: loops[0])
    }

    /// Asks a token endpoint's host for nothing, and reads the `Date` of its answer.
    /// - Returns: nil when the answer has none.
    /// - Throws: why there was no answer within `patience`.
    public func date(of endpoint: ProviderEndpoint, patience: Duration) async throws -> ProviderDate? {
        let target = try Endpoint(tokenURL: configuration[endpoint])
        var request = HTTPClientRequest(url: "https://\(target.authority)/")
        request.method = .HEAD
        let sentAtMs = clock.nowMs()
        let response = try await client.execute(request, timeout: TimeAmount(patience))
        let receivedAtMs = clock.nowMs()
        guard let text = response.headers.first(name: "date"), let seconds = Timestamp.epochSeconds(httpDate: text)
        else { return nil }
        return ProviderDate(dateMs: seconds * 1000, sentAtMs: sentAtMs, receivedAtMs: receivedAtMs)
    }
}

extension Connector {
    fileprivate func look(_ endpoint: Endpoint, on loop: any EventLoop) async -> TLSLook {
        let addresses: [SocketAddress]
        do {
            addresses = try await self.addresses(of: endpoint, on: loop).get()
        } catch {
            return .noAddress("\(error)")
        }
        guard let address = addresses.first else { return .noAddress("\(endpoint.host) has no address") }
        let seen = loop.makePromise(of: String?.self)
        let deadline = loop.scheduleTask(in: timeout) { seen.fail(ConnectionFault.connectTimeout) }
        let (tls, proxy) = (self.tls, self.proxy)
        let connection = ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handshake = try NIOSSLClientHandler(context: tls, serverHostname: endpoint.serverName)
                    if let proxy {
                        try channel.pipeline.syncOperations.addHandler(ProxyHandler(proxy: proxy, endpoint: endpoint))
                    }
                    try channel.pipeline.syncOperations.addHandlers(handshake, HandshakeWatch(seen: seen))
                }
            }
            .connect(to: address)
        connection.whenFailure { seen.fail($0) }
        let result: Result<String?, any Error>
        do { result = .success(try await seen.futureResult.get()) } catch { result = .failure(error) }
        deadline.cancel()
        connection.whenSuccess { $0.close(promise: nil) }
        switch result {
        case .success(let name): return .good(applicationProtocol: name)
        case .failure(let error):
            let explained = try? await self.explained(error, address: address, endpoint: endpoint, on: loop).get()
            let fault = explained ?? error
            return fault is CertificateFault ? .certificate("\(fault)") : .unreachable("\(fault)")
        }
    }
}

private final class HandshakeWatch: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let seen: EventLoopPromise<String?>

    init(seen: EventLoopPromise<String?>) { self.seen = seen }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted(let name) = event as? TLSUserEvent else { return }
        seen.succeed(name)
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { seen.fail(error) }
    func channelInactive(context: ChannelHandlerContext) { seen.fail(ConnectionFault.endedByPeer) }
}
