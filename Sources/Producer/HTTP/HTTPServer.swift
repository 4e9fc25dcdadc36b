import HTTPEdge
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOSSL
import ServiceLifecycle
import ServiceSupport
import Wire

/// One address that is listened on.
struct HTTPListener: Sendable {
    /// For people.
    var name: String
    /// What sets host and port.
    var hostFlag: String
    var portFlag: String
    var host: String
    var port: Int
    /// Nil: plain HTTP.
    var certificate: ServerCertificate?
}

/// The HTTP application around a responder.
enum HTTPServer {
    static func service(
        responder: APIResponder, listener: HTTPListener, limits: HTTPLimits, book: ConnectionBook, logger: Logger,
        onBound: @escaping @Sendable (Int) -> Void
    ) -> any ServiceLifecycle.Service {
        var tls: (@Sendable () -> NIOSSLContext)?
        if let certificate = listener.certificate { tls = { certificate.context } }
        let metrics = responder.metrics
        let refuse: @Sendable (HTTPRefusal) -> HTTPRefusalReply = { refusal in
            metrics.refused(status: Int(refusal.status.code))
            return HTTPRefusalReply(refusal)
        }
        let server = HTTPServerBuilder { [tls] respond in
            EdgeChannel(responder: respond, limits: limits.edge, book: book, tls: tls, refuse: refuse)
        }
        let application = Application(
            responder: responder, server: server,
            configuration: ApplicationConfiguration(address: .hostname(listener.host, port: listener.port)),
            onServerRunning: { channel in
                await AcceptGuard.install(on: channel, book: book, logger: logger)
                onBound(channel.localAddress?.port ?? listener.port)
            }, logger: logger)
        return Listening(application: application, listener: listener)
    }
}

extension HTTPRefusalReply {
    /// The API's body.
    init(_ refusal: HTTPRefusal) {
        let error = APIError(refusal)
        self.init(
            headers: [
                "Content-Type": "application/json", APIResponder.requestIDName.rawName: RequestIdentifier.make(),
            ], body: error.body.bytes)
        for (name, value) in error.headers { headers.replaceOrAdd(name: name, value: value) }
    }
}

extension APIError {
    /// What cannot be read as HTTP, or in time. The connection is closed behind it.
    init(_ refusal: HTTPRefusal) {
        let code: APICode =
            switch refusal {
            case .malformed, .length, .host: .malformed
            case .headersTooLarge: .headersTooLarge
            case .bodyDeadline: .requestTimeout
            case .clientShare: .tooManyRequests
            }
        let retry = refusal == .clientShare ? ["Retry-After": "1"] : [:]
        self.init(code, refusal.message, headers: retry.merging(["Connection": "close"]) { old, _ in old })
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
                opening: listener.name, host: listener.host, port: listener.port, error, hostFlag: listener.hostFlag,
                portFlag: listener.portFlag)
        }
    }
}
