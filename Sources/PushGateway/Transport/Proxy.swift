import AsyncHTTPClient
import Foundation
import NIOCore
import Wire

/// A proxy that takes CONNECT: RFC 9110, section 9.3.6.
struct ProxyAddress: Hashable, Sendable {
    var host: String
    var port: Int
    /// For `Proxy-Authorization: Basic`; nil: none.
    var userAndPassword: String?

    /// - Throws: ``PushGatewayError``, without the password.
    init(url: String) throws(PushGatewayError) {
        guard let parts = URLComponents(string: url), parts.scheme == "http", let host = parts.host, !host.isEmpty,
            let port = parts.port, (1...65_535).contains(port), parts.path.isEmpty || parts.path == "/",
            parts.query == nil
        else {
            throw PushGatewayError(
                code: .configuration, message: "proxyURL must be http://[USER:PASSWORD@]HOST:PORT and nothing more")
        }
        self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        self.port = port
        if let user = parts.user { userAndPassword = "\(user):\(parts.password ?? "")" }
    }

    var forWebClient: HTTPClient.Configuration.Proxy {
        let credentials = userAndPassword.map { Base64.encode($0.utf8) }
        return .server(host: host, port: port, authorization: credentials.map { .basic(credentials: $0) })
    }

    /// The request that opens the way.
    func connectRequest(to endpoint: Endpoint) -> String {
        let name = endpoint.host.contains(":") ? "[\(endpoint.host)]" : endpoint.host
        let target = "\(name):\(endpoint.port)"
        var text = "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n"
        if let userAndPassword {
            text += "Proxy-Authorization: Basic \(Base64.encode(userAndPassword.utf8))\r\n"
        }
        return text + "\r\n"
    }
}

/// Opens the way through the proxy before TLS begins: keeps the channel "inactive" for the handlers behind it until the
/// proxy has said 2xx, then leaves.
final class ProxyHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// No proxy says more before the way is open.
    private static let longestAnswer = 8192

    private let proxy: ProxyAddress
    private let endpoint: Endpoint
    private var answer: [UInt8] = []
    private var isOpen = false

    init(proxy: ProxyAddress, endpoint: Endpoint) {
        self.proxy = proxy
        self.endpoint = endpoint
    }

    func channelActive(context: ChannelHandlerContext) {
        let request = context.channel.allocator.buffer(string: proxy.connectRequest(to: endpoint))
        context.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isOpen { return context.fireChannelRead(data) }
        answer.append(contentsOf: unwrapInboundIn(data).readableBytesView)
        guard let end = answer.firstRange(of: Array("\r\n\r\n".utf8)) else {
            if answer.count > Self.longestAnswer { refuse("an answer without end", context) }
            return
        }
        let line = String(decoding: answer.prefix { $0 != 13 }, as: UTF8.self)
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), words[1].count == 3, words[1].first == "2" else {
            return refuse(String(line.prefix(80)), context)
        }
        isOpen = true
        let rest = Array(answer[end.upperBound...])
        answer = []
        context.fireChannelActive()
        // Servers of TLS do not speak first, but nothing is thrown away.
        if !rest.isEmpty { context.fireChannelRead(NIOAny(ByteBuffer(bytes: rest))) }
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    private func refuse(_ what: String, _ context: ChannelHandlerContext) {
        context.fireErrorCaught(
            PushGatewayError(code: .connection, message: "the proxy \(proxy.host):\(proxy.port) answered: \(what)"))
        context.close(promise: nil)
    }
}
