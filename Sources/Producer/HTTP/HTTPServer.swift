import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle
import ServiceSupport

/// One address that is listened on.
struct HTTPListener: Sendable {
    /// For people.
    var name: String
    /// What sets the port.
    var flag: String
    var host: String
    var port: Int
    /// Nil: plain HTTP.
    var certificate: ServerCertificate?
}

/// The HTTP application around a responder.
enum HTTPServer {
    static func service(
        responder: APIResponder, listener: HTTPListener, limits: HTTPLimits, logger: Logger,
        onBound: @escaping @Sendable (Int) -> Void
    ) -> any ServiceLifecycle.Service {
        var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
        decoder.maxHeaderFieldSize = limits.maxHeaders
        decoder.maxHeaderListSize = limits.maxHeaders
        decoder.maxHeaderFieldCount = 100
        // A body that trickles gets a 408 while its bytes come; one that stands still is closed a moment later.
        let (head, body, response) = (
            TimeAmount(limits.headDeadline), TimeAmount(limits.bodyDeadline + .seconds(2)),
            TimeAmount(limits.responseDeadline)
        )
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [
                MalformedRequests(), ConnectionDeadlines(head: head, body: body, response: response),
            ],
            idleTimeout: TimeAmount(limits.idleTimeout), httpDecoderConfiguration: decoder)
        let server: HTTPServerBuilder
        if let certificate = listener.certificate {
            server = HTTPServerBuilder { responder in
                CertifiedChannel(
                    base: HTTP1Channel(responder: responder, configuration: configuration), certificate: certificate)
            }
        } else {
            server = .http1(configuration: configuration)
        }
        let application = Application(
            responder: responder, server: server,
            configuration: ApplicationConfiguration(
                address: .hostname(listener.host, port: listener.port),
                availableConnectionsDelegate: MaximumAvailableConnections(limits.maxConnections)),
            onServerRunning: { channel in onBound(channel.localAddress?.port ?? listener.port) }, logger: logger)
        return Listening(application: application, listener: listener)
    }
}

/// Says what to do about a port that cannot be opened.
private struct Listening: ServiceLifecycle.Service {
    let application: Application<APIResponder>
    let listener: HTTPListener

    func run() async throws {
        do {
            try await application.run()
        } catch let error as IOError {
            throw StartError(
                opening: listener.name, host: listener.host, port: listener.port, error, flag: listener.flag)
        }
    }
}
