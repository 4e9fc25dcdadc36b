import AsyncHTTPClient
public import ChallengeModel
public import Logging
import NIOCore
import NIOPosix
import NIOSSL
import PushProviders
import Synchronization

/// Values that only tests change.
struct GatewayTuning: Sendable {
    var pool = ConnectionPool.Settings()
    var breaker = CircuitBreaker.Settings()
    var clock = GatewayClock.system
    var resolve: Connector.Resolver?
    var connectTimeout: TimeAmount?
}

/// Sends pushes. Owns connections, provider tokens and circuit breakers; decides nothing about challenges.
/// Each credential has its own connections to each host, so that teams and projects share neither streams nor faults.
/// Outstanding pushes are limited per host by ``PushGatewayConfiguration/maxInFlight``, and per credential and host by
/// a limit that falls while the provider fails or is slow. Call ``close(deadline:)`` before the last reference is
/// released.
public final class PushGateway: Sendable {
    private struct Routes {
        var bySID: [String: CredentialRoute] = [:]
        /// Routes that were replaced or removed, and still finish their pushes.
        var retired: [ObjectIdentifier: CredentialRoute] = [:]
    }
    private enum Life { case open, closing, closed }

    let clock: GatewayClock
    let deadline: TimeAmount
    let configuration: PushGatewayConfiguration
    private let tuning: GatewayTuning
    private let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    let loops: [any EventLoop]
    let connector: Connector
    let client: HTTPClient
    private let counters = Dictionary(
        uniqueKeysWithValues: PushProviders.all.map { ($0.platform, TransportCounters()) })
    private let endpoints: [ProviderEndpoint: Endpoint]
    private let hosts: [Endpoint: HostLimit]
    private let hostLimits: [HostLimit]
    private let lastLookMs = Atomic<Int64>(0)

    private let routes = Mutex(Routes())
    private let life = Atomic(0)
    private let outstanding = Atomic(0)
    private let idle = Mutex<CheckedContinuation<Void, Never>?>(nil)

    /// - Throws: ``PushGatewayError`` when a URL or the CA file is not usable.
    public convenience init(configuration: PushGatewayConfiguration, logger: Logger) throws {
        try self.init(configuration: configuration, logger: logger, tuning: GatewayTuning())
    }

    init(configuration: PushGatewayConfiguration, logger: Logger, tuning: GatewayTuning) throws {
        try Self.check(configuration)
        var endpoints: [ProviderEndpoint: Endpoint] = [:]
        var hosts: [Endpoint: HostLimit] = [:]
        for endpoint in PushProviders.endpoints where endpoint.kind == .pushes {
            let host = try Endpoint(url: configuration[endpoint], setting: endpoint.setting)
            endpoints[endpoint] = host
            if hosts[host] == nil { hosts[host] = HostLimit(most: configuration.maxInFlight) }
        }
        self.endpoints = endpoints
        self.hosts = hosts
        hostLimits = Array(hosts.values)
        let proxy = try configuration.proxyURL.map { try ProxyAddress(url: $0) }
        var connector = try Connector(caFile: configuration.caFile)
        connector.proxy = proxy
        if let resolve = tuning.resolve { connector.resolve = resolve }
        if let timeout = tuning.connectTimeout { connector.timeout = timeout }
        self.connector = connector
        self.configuration = configuration
        self.tuning = tuning
        self.logger = logger
        clock = tuning.clock
        deadline = TimeAmount(configuration.deadline)
        group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.eventLoopThreads)
        loops = Array(group.makeIterator())
        var web = HTTPClient.Configuration(redirectConfiguration: .disallow)
        web.tlsConfiguration = try ProviderTLS.configuration(caFile: configuration.caFile)
        web.proxy = proxy?.forWebClient
        // The deadline of a fetch bounds the rest. Our own back-off says when to try again, and the first error says
        // why.
        web.timeout = .init(connect: .seconds(3))
        web.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .shared(group), configuration: web)
    }

    deinit {
        assert(life.load(ordering: .sequentiallyConsistent) == 2, "PushGateway.close(deadline:) was not called")
    }

    private static func check(_ configuration: PushGatewayConfiguration) throws(PushGatewayError) {
        func require(_ isSound: Bool, _ message: String) throws(PushGatewayError) {
            if !isSound { throw PushGatewayError(code: .configuration, message: message) }
        }
        try require(
            (1...64).contains(configuration.eventLoopThreads),
            "eventLoopThreads is \(configuration.eventLoopThreads); it must be 1 to 64")
        try require(
            (1...256).contains(configuration.maxConnectionsPerHost),
            "maxConnectionsPerHost is \(configuration.maxConnectionsPerHost); it must be 1 to 256")
        try require(
            (1...1_000_000).contains(configuration.maxInFlight),
            "maxInFlight is \(configuration.maxInFlight); it must be 1 to 1,000,000")
        try require(
            configuration.deadline > .zero && configuration.deadline <= .seconds(3600),
            "deadline is \(configuration.deadline); it must be above 0 and at most an hour")
        for endpoint in PushProviders.endpoints where endpoint.kind == .accessTokens {
            let url = configuration[endpoint]
            let isLoopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].contains { url.hasPrefix($0) }
            try require(
                url.hasPrefix("https://") || isLoopback,
                "\(endpoint.setting) is \"\(url)\"; it must be https, because the request is worth an access token")
        }
    }

    // MARK: Credentials

    /// Adds or replaces a credential (from topic `configuration`). A new key takes effect with the next push. Setting
    /// the same credential again has no effect. A key that cannot be used is logged, and its pushes get a credential
    /// fault.
    public func setCredential(_ credential: ProviderCredential) {
        guard !isClosing else { return }
        let sid = credential.credentialSid
        if routes.withLock({ $0.bySID[sid]?.secret == credential }) { return }
        let route = makeRoute(credential)
        let before = routes.withLock { routes in
            let before = routes.bySID.updateValue(route, forKey: sid)
            if let before { routes.retired[ObjectIdentifier(before)] = before }
            return before
        }
        if let before { retire(before) }
    }

    /// Removes a credential. Its outstanding pushes end normally. Later pushes are `deferred`.
    public func removeCredential(sid: String) {
        let before = routes.withLock { routes in
            let before = routes.bySID.removeValue(forKey: sid)
            if let before { routes.retired[ObjectIdentifier(before)] = before }
            return before
        }
        if let before { retire(before) }
    }

    private func retire(_ route: CredentialRoute) {
        route.closeToken()
        EventLoopFuture.andAllComplete(route.drain(), on: loops[0]).whenComplete { [weak self] _ in
            self?.routes.withLock { _ = $0.retired.removeValue(forKey: ObjectIdentifier(route)) }
        }
    }

    func route(_ sid: String) -> CredentialRoute? { routes.withLock { $0.bySID[sid] } }

    private func makeRoute(_ credential: ProviderCredential) -> CredentialRoute {
        do {
            let open = try PushProviders.open(credential)
            var identified: Connector?
            let authorization: CredentialRoute.Authorization
            switch open.proof {
            case .clientCertificate(let certificate, let key):
                identified = try connector.identified(certificatePEM: certificate, keyPEM: key)
                authorization = .connection
            case .signed(let signer):
                authorization = .signed(signer)
            case .accessToken(let source, let endpoint):
                authorization = .fetched(accessToken(source, configuration[endpoint]))
            }
            let senders = try open.ways.map { way in
                guard let endpoint = endpoints[way] else {
                    throw PushGatewayError(code: .configuration, message: "no provider lists \(way.setting)")
                }
                return sender(endpoint, of: open, identified)
            }
            return CredentialRoute(
                secret: credential, way: .init(credential: open, authorization: authorization, senders: senders))
        } catch {
            logger.error(
                "credential cannot be used",
                metadata: ["credential": "\(credential.credentialSid)", "error": "\(error)"])
            return CredentialRoute(secret: credential, way: nil)
        }
    }

    private func accessToken(_ account: any AccessTokenSource, _ url: String) -> OAuthToken {
        OAuthToken(
            account: account, url: url, client: client, connector: connector, deadline: deadline, loop: loops[0],
            clock: clock, logger: logger)
    }

    private func sender(
        _ endpoint: Endpoint, of credential: any OpenCredential, _ identified: Connector? = nil
    ) -> ProviderSender {
        let counters = counters[credential.platform] ?? TransportCounters()
        var settings = tuning.pool
        settings.firstStreamAlone = credential.startsWithOneStream
        settings.maxConnections = max(1, configuration.maxConnectionsPerHost / loops.count)
        let pools = loops.map { loop in
            ConnectionPool(
                loop: loop, endpoint: endpoint, settings: settings, connector: identified ?? connector, clock: clock,
                counters: counters, logger: logger)
        }
        let host = hosts[endpoint] ?? HostLimit(most: configuration.maxInFlight)
        var limit = InFlightLimit.Settings()
        limit.ceiling = host.share
        // Its failures come as late as the deadline.
        limit.memoryMs = max(limit.memoryMs, deadline.nanoseconds / 1_000_000 + 5000)
        return ProviderSender(
            endpoint: endpoint, pools: pools, host: host, breaker: CircuitBreaker(settings: tuning.breaker),
            limit: InFlightLimit(settings: limit), clock: clock, logger: logger)
    }

    // MARK: Life

    /// Number of outstanding pushes.
    public var inFlight: Int { outstanding.load(ordering: .sequentiallyConsistent) }

    /// True when a provider that seems healthy has three quarters of ``PushGatewayConfiguration/maxInFlight``
    /// outstanding. Callers should then wait before they hand over more pushes. When the provider turns out to fail,
    /// its pushes are deferred, and callers need not wait.
    public var isFull: Bool {
        guard hostLimits.contains(where: { $0.isFull }) else { return false }
        // While all callers wait, no push arrives that would reveal a hanging provider.
        let nowMs = clock.steadyMs()
        let lastMs = lastLookMs.load(ordering: .relaxed)
        if nowMs - lastMs >= 100,
            lastLookMs.compareExchange(expected: lastMs, desired: nowMs, ordering: .relaxed).exchanged
        {
            for route in routes.withLock({ Array($0.bySID.values) }) { _ = route.limit }
        }
        return hostLimits.contains { $0.isFull }
    }

    public var statistics: PushGatewayStatistics {
        var statistics = PushGatewayStatistics()
        statistics.inFlight = inFlight
        statistics.transport = counters.mapValues(\.statistics)
        let routes = routes.withLock { Array($0.bySID.values) }
        let most = hostLimits.map(\.share).max() ?? 0
        for provider in PushProviders.all {
            statistics.inFlightLimits[provider.platform] = most
            statistics.openCircuitsByProvider[provider.platform] = 0
        }
        for route in routes {
            guard let platform = route.way?.platform else { continue }
            statistics.openCircuitsByProvider[platform, default: 0] += route.openCircuits
        }
        for case let (platform, limit)? in routes.map(\.limit) {
            statistics.inFlightLimits[platform] = min(statistics.inFlightLimits[platform] ?? most, limit)
        }
        return statistics
    }

    var isClosing: Bool { life.load(ordering: .sequentiallyConsistent) != 0 }

    func began() { outstanding.add(1, ordering: .sequentiallyConsistent) }

    /// The push is counted as ended before its completion runs, so that a caller that waits for the answer sees the new
    /// count.
    func ended(_ tell: () -> Void) {
        let left = outstanding.subtract(1, ordering: .sequentiallyConsistent).newValue
        tell()
        if left == 0, isClosing { resumeIdle() }
    }

    private func resumeIdle() {
        idle.withLock { continuation in
            defer { continuation = nil }
            return continuation
        }?.resume()
    }

    /// Closes the connections after all outstanding pushes have ended, or at the deadline. Pushes that are open at the
    /// deadline become `unknown`, or `deferred` when they were not sent. New pushes are `deferred`. A second call
    /// returns at once. It cannot be cancelled.
    public func close(deadline: Duration) async {
        guard life.compareExchange(expected: 0, desired: 1, ordering: .sequentiallyConsistent).exchanged else { return }
        await waitUntilIdle(TimeAmount(deadline))
        let all = routes.withLock { routes in
            defer { routes = Routes() }
            return Array(routes.bySID.values) + Array(routes.retired.values)
        }
        let futures = all.flatMap { $0.abort() }
        await waitUntilIdle(.seconds(2))
        try? await EventLoopFuture.andAllComplete(futures, on: loops[0]).get()
        do {
            try await client.shutdown()
            try await group.shutdownGracefully()
        } catch {
            logger.error("push gateway did not close cleanly", metadata: ["error": "\(error)"])
        }
        life.store(2, ordering: .sequentiallyConsistent)
    }

    private func waitUntilIdle(_ most: TimeAmount) async {
        guard inFlight > 0 else { return }
        await withCheckedContinuation { continuation in
            idle.withLock { $0 = continuation }
            let timer = loops[0].scheduleTask(in: most) { self.resumeIdle() }
            if inFlight == 0 {
                timer.cancel()
                resumeIdle()
            }
        }
    }
}
