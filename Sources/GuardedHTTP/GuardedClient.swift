import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// A client certificate and its key, as PEM files.
public struct ClientIdentity: Sendable, Hashable {
    /// The certificate, and behind it those between it and the authority.
    public var certificateFile: String
    public var keyFile: String

    public init(certificateFile: String, keyFile: String) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
    }
}

/// HTTP/1.1 to addresses that customers named: webhooks, and whatever else is sent to a URL of theirs.
///
/// The URL is judged again at each request, the name is resolved once, every answer is judged, and the socket is
/// connected to a judged address. Redirects are not followed, and a proxy of the environment is not used: it would
/// resolve the name itself. TLS is checked against the name.
public final class GuardedClient: Sendable {
    private let rules: OutboundRules
    private let group: MultiThreadedEventLoopGroup
    private let names: JudgedAddresses
    private let pool: ConnectionPool
    private let tls: NIOSSLContext

    /// - Parameters:
    ///   - servers: name servers; those of the system by default.
    ///   - caFile: PEM roots that are trusted instead of the system's.
    ///   - identity: shown to servers that ask for a client certificate; nil: none.
    ///   - threads: event loops, 1 or more.
    /// - Throws: when a file cannot be read.
    public init(
        rules: OutboundRules, servers: NameServers = NameServers(), caFile: String? = nil,
        identity: ClientIdentity? = nil, threads: Int = 1
    ) throws {
        var rules = rules
        // The way out and back in again by a public address of this machine passes many a firewall.
        for device in (try? System.enumerateDevices()) ?? [] {
            guard let address = device.address.flatMap(IPAddress.init), AddressRules.refusal(of: address) == nil else {
                continue
            }
            rules.ownAddresses.insert(address)
        }
        self.rules = rules
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        if let caFile { configuration.trustRoots = .file(caFile) }
        if let identity {
            configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(identity.certificateFile).map {
                .certificate($0)
            }
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: identity.keyFile, format: .pem))
        }
        tls = try NIOSSLContext(configuration: configuration)
        group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        names = JudgedAddresses(rules: rules, servers: servers)
        pool = ConnectionPool()
    }

    /// Reads a customer's URL under the rules of this client.
    public func url(_ text: String) throws(CustomerURLError) -> CustomerURL { try CustomerURL(text, rules: rules) }

    /// Posts once, over an idle connection or a new one. A connection that the peer had closed meanwhile is replaced,
    /// once.
    /// - Parameters:
    ///   - target: path and query, of `url` or with more in the query.
    ///   - headers: beside `Host` and `Content-Length`.
    ///   - connectTimeout: of TCP, for each of up to three addresses.
    ///   - readTimeout: for TLS, for the answer, and between its parts.
    ///   - deadline: for everything together. An answer that comes a byte at a time ends here too.
    public func post(
        _ url: CustomerURL, target: String, headers: [(name: String, value: String)], body: [UInt8],
        connectTimeout: Duration, readTimeout: Duration, until deadline: ContinuousClock.Instant
    ) async throws(GuardedHTTPError) -> HTTPAnswer {
        let bounds = Bounds(connectTimeout, readTimeout, deadline)
        return try await request(.POST, url, target, headers, body: body, bounds)
    }

    /// Asks with the method OPTIONS, which has no body. Otherwise as
    /// ``post(_:target:headers:body:connectTimeout:readTimeout:until:)``.
    public func options(
        _ url: CustomerURL, headers: [(name: String, value: String)], connectTimeout: Duration, readTimeout: Duration,
        until deadline: ContinuousClock.Instant
    ) async throws(GuardedHTTPError) -> HTTPAnswer {
        let bounds = Bounds(connectTimeout, readTimeout, deadline)
        return try await request(.OPTIONS, url, url.target, headers, body: nil, bounds)
    }

    private struct Bounds {
        let connectTimeout: TimeAmount
        let readTimeout: TimeAmount
        let end: NIODeadline

        init(_ connectTimeout: Duration, _ readTimeout: Duration, _ deadline: ContinuousClock.Instant) {
            self.connectTimeout = TimeAmount(connectTimeout)
            self.readTimeout = TimeAmount(readTimeout)
            end = .now() + TimeAmount(deadline - .now)
        }
    }

    private func request(
        _ method: HTTPMethod, _ url: CustomerURL, _ target: String, _ headers: [(name: String, value: String)],
        body: [UInt8]?, _ bounds: Bounds
    ) async throws(GuardedHTTPError) -> HTTPAnswer {
        // It may have been taken under other rules.
        guard rules.permits(url.host, port: url.port, isTLS: url.isTLS) else { throw .refused(detail: "the URL") }
        var fields = HTTPHeaders()
        fields.reserveCapacity(headers.count + 2)
        fields.add(name: "Host", value: url.authority)
        for (name, value) in headers { fields.add(name: name, value: value) }
        if let body { fields.add(name: "Content-Length", value: String(body.count)) }
        let head = HTTPRequestHead(version: .http1_1, method: method, uri: target, headers: fields)
        let origin = (url.isTLS ? "s " : "c ") + url.authority
        while true {
            let connection: PooledConnection
            if let idle = pool.take(origin) {
                connection = idle
            } else {
                connection = try await connect(url, bounds)
            }
            let isUsed = connection.countUse()
            do throws(GuardedHTTPError) {
                let answer = try await exchange(head, body ?? [], on: connection, bounds)
                if answer.staysOpen { pool.give(connection, to: origin) }
                return answer.answer
            } catch {
                connection.channel.close(promise: nil)
                guard isUsed, error == .closed, !Task.isCancelled else { throw error }
            }
        }
    }

    /// Resolves and judges the name, connects and shakes hands, sends nothing and closes.
    /// - Parameters:
    ///   - connectTimeout, readTimeout: as of ``post(_:target:headers:body:connectTimeout:readTimeout:until:)``.
    public func look(
        _ url: CustomerURL, connectTimeout: Duration, readTimeout: Duration
    ) async throws(GuardedHTTPError) {
        guard rules.permits(url.host, port: url.port, isTLS: url.isTLS) else { throw .refused(detail: "the URL") }
        let bounds = Bounds(connectTimeout, readTimeout, .now + connectTimeout * 3 + readTimeout)
        try await connect(url, bounds).channel.close(promise: nil)
    }

    private func exchange(
        _ head: HTTPRequestHead, _ body: [UInt8], on connection: PooledConnection, _ bounds: Bounds
    ) async throws(GuardedHTTPError) -> (answer: HTTPAnswer, staysOpen: Bool) {
        let (channel, handler) = (connection.channel, connection.handler)
        let mark = NIOLoopBoundBox.makeBoxSendingValue(ExchangeHandler.Exchange(), eventLoop: channel.eventLoop)
        do {
            return try await withTaskCancellationHandler {
                try await channel.eventLoop.flatSubmit {
                    let exchange = handler.value
                    return exchange.send(
                        head, ByteBuffer(bytes: body), as: mark.value, readTimeout: bounds.readTimeout,
                        until: bounds.end
                    ).map { (answer: $0, staysOpen: handler.value.isReusable) }
                }.get()
            } onCancel: {
                channel.eventLoop.execute { handler.value.cancel(mark.value) }
            }
        } catch {
            if Task.isCancelled { throw .cancelled }
            throw ExchangeHandler.reason(of: error)
        }
    }

    private func connect(
        _ url: CustomerURL, _ bounds: Bounds
    ) async throws(GuardedHTTPError) -> PooledConnection {
        let loop = group.next()
        let addresses = try await names.addresses(of: url, on: loop)
        var failure = GuardedHTTPError.nameNotFound
        for address in addresses.prefix(3) {
            if Task.isCancelled { throw .cancelled }
            do throws(GuardedHTTPError) {
                return try await connect(url, address, loop, bounds)
            } catch {
                failure = error
                // Another address of the name may be well; a wrong certificate is wrong on all.
                guard error == .connectTimeout || error.isConnect else { throw error }
            }
        }
        throw failure
    }

    private func connect(
        _ url: CustomerURL, _ address: IPAddress, _ loop: any EventLoop, _ bounds: Bounds
    ) async throws(GuardedHTTPError) -> PooledConnection {
        guard NIODeadline.now() < bounds.end else { throw .connectTimeout }
        let ready = loop.makePromise(of: Void.self)
        let connectTimeout = min(bounds.connectTimeout, bounds.end - .now())
        let timer = loop.scheduleTask(deadline: min(.now() + connectTimeout + bounds.readTimeout, bounds.end)) {
            ready.fail(GuardedHTTPError.readTimeout)
        }
        defer { timer.cancel() }
        let opened = loop.makePromise(of: (any Channel).self)
        do {
            return try await withTaskCancellationHandler {
                try await open(url, address, loop, connectTimeout, opened, ready)
            } onCancel: {
                opened.fail(GuardedHTTPError.cancelled)
                ready.fail(GuardedHTTPError.cancelled)
            }
        } catch {
            opened.fail(error)
            ready.fail(error)
            if Task.isCancelled { throw .cancelled }
            throw ExchangeHandler.reason(of: error)
        }
    }

    /// - Parameters:
    ///   - opened: gets the channel. When it fails first, a channel that opens later is closed.
    ///   - ready: succeeds when a request may be sent.
    private func open(
        _ url: CustomerURL, _ address: IPAddress, _ loop: any EventLoop, _ connectTimeout: TimeAmount,
        _ opened: EventLoopPromise<any Channel>, _ ready: EventLoopPromise<Void>
    ) async throws -> PooledConnection {
        let socketAddress = try address.socketAddress(port: url.port)
        let (tls, isTLS) = (tls, url.isTLS)
        // An IP address is checked against the certificate's addresses.
        let serverName: String? = if case .name(let name) = url.host { name } else { nil }
        let connecting = ClientBootstrap(group: loop)
            .connectTimeout(connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if isTLS {
                        try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: serverName))
                    }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(ExchangeHandler(isTLS: isTLS, ready: ready))
                }
            }
            .connect(to: socketAddress)
        connecting.cascade(to: opened)
        do {
            let channel = try await opened.futureResult.get()
            // Not what the bootstrap was asked for, but what the kernel has done.
            // Nil: the channel is closed again, and `ready` says why.
            if let remote = channel.remoteAddress, IPAddress(remote) != address {
                throw GuardedHTTPError.refused(detail: "connected to another address than the judged one")
            }
            try await ready.futureResult.get()
            let handler = try await loop.submit {
                NIOLoopBound(try channel.pipeline.syncOperations.handler(type: ExchangeHandler.self), eventLoop: loop)
            }.get()
            return PooledConnection(channel: channel, handler: handler)
        } catch {
            connecting.whenSuccess { $0.close(promise: nil) }
            throw error
        }
    }

    /// Closes idle connections whose time has come. Call it about once a second.
    public func prune() { pool.prune() }

    /// Closes all idle connections and ends the event loops. Call it when no request is under way.
    public func close() async {
        pool.close()
        try? await group.shutdownGracefully()
    }
}

extension GuardedHTTPError {
    fileprivate var isConnect: Bool { if case .connect = self { true } else { false } }
}
