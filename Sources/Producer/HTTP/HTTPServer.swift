import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOSSL

/// The HTTP application around a responder.
enum HTTPServer {
    static func application(
        responder: APIResponder, configuration: ProducerConfiguration, logger: Logger,
        onBound: @escaping @Sendable (Int) -> Void
    ) throws -> Application<APIResponder> {
        var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
        decoder.maxHeaderFieldSize = configuration.http.maxHeaders
        decoder.maxHeaderListSize = configuration.http.maxHeaders
        decoder.maxHeaderFieldCount = 100
        let plain = HTTPServerBuilder.http1(
            configuration: .init(
                idleTimeout: TimeAmount(configuration.http.idleTimeout), httpDecoderConfiguration: decoder))
        let server = try configuration.tls.map { try HTTPServerBuilder.tls(plain, tlsConfiguration: tls($0)) } ?? plain
        return Application(
            responder: responder, server: server,
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                availableConnectionsDelegate: MaximumAvailableConnections(configuration.http.maxConnections)),
            onServerRunning: { channel in onBound(channel.localAddress?.port ?? configuration.port) }, logger: logger)
    }

    /// TLS 1.2 and later. Reads the files; an error names what cannot be read.
    private static func tls(_ files: ProducerConfiguration.TLSFiles) throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(files.certificateChain).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: files.privateKey, format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        return tls
    }
}
