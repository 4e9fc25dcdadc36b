import Foundation
import NIOCore
import NIOPosix
import NIOSSL

#if canImport(Glibc)
    import Glibc
#endif

/// Makes connections: resolves the name anew each time, and tries one address after the other.
struct Connector: Sendable {
    typealias Resolver = @Sendable (_ host: String, _ port: Int) throws -> [SocketAddress]

    var tls: NIOSSLContext
    private var configuration: TLSConfiguration
    /// TCP goes there, and TLS through it.
    var proxy: ProxyAddress?
    /// TCP, TLS and SETTINGS of one address.
    var timeout = TimeAmount.seconds(3)
    /// Addresses tried before the attempt as a whole has failed.
    var mostAddresses = 4
    var resolve: Resolver = Self.system

    /// - Parameter caFile: PEM of roots instead of the system's.
    init(caFile: String?) throws {
        var configuration = try ProviderTLS.configuration(caFile: caFile)
        configuration.applicationProtocols = ["h2"]
        tls = try NIOSSLContext(configuration: configuration)
        self.configuration = configuration
    }

    /// The same with a client certificate. - Throws: ``PushGatewayError`` that says which part is not usable.
    func identified(certificatePEM: String, keyPEM: String) throws -> Connector {
        var configuration = configuration
        do {
            let chain = try NIOSSLCertificate.fromPEMBytes(Array(certificatePEM.utf8))
            configuration.certificateChain = chain.map { .certificate($0) }
            if chain.isEmpty { throw NIOSSLError.failedToLoadCertificate }
        } catch {
            throw PushGatewayError(code: .credential, message: "certificate_pem is not a PEM chain of certificates")
        }
        do {
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(keyPEM.utf8), format: .pem))
        } catch {
            throw PushGatewayError(
                code: .credential, message: "private_key_pem is not an unencrypted private key in PEM")
        }
        var connector = self
        do {
            connector.tls = try NIOSSLContext(configuration: configuration)
        } catch {
            throw PushGatewayError(code: .credential, message: "certificate_pem and private_key_pem are not a pair")
        }
        connector.configuration = configuration
        return connector
    }

    /// getaddrinfo, which blocks: called on a thread of its own.
    static let system: Resolver = { host, port in
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        // AI_ADDRCONFIG ignores loopback, so that "localhost" on a machine without a network would resolve to nothing.
        if host == "localhost" || host.hasPrefix("127.") || host == "::1" { hints.ai_flags = 0 }
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        guard code == 0 else {
            throw PushGatewayError(
                code: .connection, message: "cannot resolve \(host): \(String(cString: gai_strerror(code)))")
        }
        var addresses: [SocketAddress] = []
        var entry = list
        while let current = entry?.pointee {
            if let address = current.ai_addr {
                switch current.ai_family {
                case AF_INET:
                    address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                        addresses.append(SocketAddress($0.pointee, host: host))
                    }
                case AF_INET6:
                    address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                        addresses.append(SocketAddress($0.pointee, host: host))
                    }
                default:
                    break
                }
            }
            entry = current.ai_next
        }
        return addresses
    }

    func addresses(of endpoint: Endpoint, on loop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        let resolve = self.resolve
        // A proxy resolves the provider's name itself.
        let (host, port) = (proxy?.host ?? endpoint.host, proxy?.port ?? endpoint.port)
        return NIOThreadPool.singleton.runIfActive(eventLoop: loop) { try resolve(host, port) }
    }

    /// TCP to one address; TLS and SETTINGS go on behind it and end in the handler.
    func connect(
        to address: SocketAddress, endpoint: Endpoint, on loop: any EventLoop, handler: HTTP2Connection
    ) -> EventLoopFuture<any Channel> {
        let (tls, proxy) = (self.tls, self.proxy)
        return ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 32_768))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let secured = try NIOSSLClientHandler(context: tls, serverHostname: endpoint.serverName)
                    if let proxy {
                        try channel.pipeline.syncOperations.addHandler(ProxyHandler(proxy: proxy, endpoint: endpoint))
                    }
                    try channel.pipeline.syncOperations.addHandlers(secured, handler)
                }
            }
            .connect(to: address)
    }
}
