import ChallengeModel
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Wire

/// What every TLS client of the gateway trusts: the connections to providers and the web client for token endpoints.
enum ProviderTLS {
    /// - Parameter caFile: PEM of the only roots that count; nil: the system's.
    /// - Throws: ``PushGatewayError`` when the file holds no certificate.
    static func configuration(caFile: String?) throws(PushGatewayError) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let caFile {
            do {
                let roots = try NIOSSLCertificate.fromPEMFile(caFile)
                if roots.isEmpty { throw NIOSSLError.failedToLoadCertificate }
                configuration.trustRoots = .certificates(roots)
            } catch {
                throw PushGatewayError(
                    code: .configuration, message: "caFile \"\(caFile)\" is not a PEM file of certificates: \(error)")
            }
        }
        return configuration
    }
}

/// A TLS handshake that failed because of a certificate, in words that say which.
struct CertificateFault: Error, CustomStringConvertible {
    var description: String

    /// Nil when the error is not about a certificate, or does not say enough: see ``isUnexplained(_:)``.
    init?(_ error: any Error, name: String) {
        if let error = error as? NIOSSLExtraError, error == .failedToValidateHostname {
            description = "the peer's certificate is for another name than \(name)"
            return
        }
        // Alerts of the peer, about a client certificate.
        let text = "\(error)"
        guard let alert = Self.alerts.first(where: { text.contains($0.word) }) else { return nil }
        description = "the peer does not take our client certificate: \(alert.meaning)"
    }

    /// BoringSSL says of a chain only that it does not verify.
    static func isUnexplained(_ error: any Error) -> Bool { "\(error)".contains("CERTIFICATE_VERIFY_FAILED") }

    /// - Parameters:
    ///   - chain: as the peer sent it, its own certificate first.
    ///   - nowSeconds: epoch seconds.
    init(chain: [NIOSSLCertificate], nowSeconds: Int64) {
        for certificate in chain {
            if Int64(certificate.notValidAfter) < nowSeconds {
                description = "the peer's certificate has expired, on \(Self.date(certificate.notValidAfter))"
                return
            }
            if Int64(certificate.notValidBefore) > nowSeconds {
                description = "the peer's certificate is not valid before \(Self.date(certificate.notValidBefore))"
                return
            }
        }
        description =
            "the peer's certificate is signed by an unknown authority, which is in neither providers.caFile nor, without it, the system's roots"
    }

    private static func date(_ time: time_t) -> String {
        let (milliseconds, isTooLarge) = Int64(time).multipliedReportingOverflow(by: 1000)
        return Timestamp.rfc3339Seconds(isTooLarge ? Timestamp.range.upperBound : milliseconds)
    }

    private static let alerts: [(word: String, meaning: String)] = [
        ("ALERT_CERTIFICATE_EXPIRED", "expired"), ("ALERT_CERTIFICATE_REVOKED", "revoked"),
        ("ALERT_UNKNOWN_CA", "unknown authority"), ("ALERT_CERTIFICATE_UNKNOWN", "unknown"),
        ("ALERT_BAD_CERTIFICATE", "malformed"), ("ALERT_CERTIFICATE_REQUIRED", "it wants one, and there is none"),
        ("ALERT_UNSUPPORTED_CERTIFICATE", "of an unsupported kind"),
    ]
}

extension Connector {
    /// The same error, or one that says what is wrong with the peer's certificate. Where the first handshake does not
    /// tell, a second one looks at the chain; it trusts nobody, sends nothing and ends there.
    func explained(
        _ error: any Error, address: SocketAddress, endpoint: Endpoint, on loop: any EventLoop
    ) -> EventLoopFuture<any Error> {
        if let fault = CertificateFault(error, name: endpoint.host) { return loop.makeSucceededFuture(fault) }
        guard CertificateFault.isUnexplained(error) else { return loop.makeSucceededFuture(error) }
        return chain(of: address, endpoint: endpoint, on: loop).map { chain -> any Error in
            CertificateFault(chain: chain, nowSeconds: Timestamp.nowMs() / 1000)
        }.recover { _ in error }
    }

    /// The same for a host that was not connected to from here.
    func explained(_ error: any Error, endpoint: Endpoint, on loop: any EventLoop) -> EventLoopFuture<any Error> {
        guard CertificateFault.isUnexplained(error) else {
            return loop.makeSucceededFuture(CertificateFault(error, name: endpoint.host) ?? error)
        }
        return addresses(of: endpoint, on: loop).flatMap { addresses in
            guard let address = addresses.first else { return loop.makeSucceededFuture(error) }
            return explained(error, address: address, endpoint: endpoint, on: loop)
        }.recover { _ in error }
    }

    private func chain(
        of address: SocketAddress, endpoint: Endpoint, on loop: any EventLoop
    ) -> EventLoopFuture<[NIOSSLCertificate]> {
        let seen = loop.makePromise(of: [NIOSSLCertificate].self)
        let (tls, proxy) = (self.tls, self.proxy)
        let deadline = loop.scheduleTask(in: timeout) { seen.fail(ConnectionFault.connectTimeout) }
        let connection = ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handshake = try NIOSSLClientHandler(
                        context: tls, serverHostname: endpoint.serverName,
                        customVerificationCallback: { chain, verdict in
                            seen.succeed(chain)
                            verdict.succeed(.failed)
                        })
                    if let proxy {
                        try channel.pipeline.syncOperations.addHandler(ProxyHandler(proxy: proxy, endpoint: endpoint))
                    }
                    try channel.pipeline.syncOperations.addHandlers(handshake, HandshakeEnd(seen: seen))
                }
            }
            .connect(to: address)
        connection.whenFailure { seen.fail($0) }
        seen.futureResult.whenComplete { _ in
            deadline.cancel()
            connection.whenSuccess { $0.close(promise: nil) }
        }
        return seen.futureResult
    }
}

/// A handshake that ends before a chain has come.
private final class HandshakeEnd: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let seen: EventLoopPromise<[NIOSSLCertificate]>

    init(seen: EventLoopPromise<[NIOSSLCertificate]>) { self.seen = seen }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { seen.fail(error) }
    func channelInactive(context: ChannelHandlerContext) { seen.fail(ConnectionFault.endedByPeer) }
}
