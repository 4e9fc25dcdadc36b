import AsyncHTTPClient
public import ChallengeModel
public import Logging
import NIOCore
import NIOPosix
import NIOSSL
import PushProviders
import Synchronization

/// What the tests turn, and nobody else.
struct GatewayTuning: Sendable {
    var pool = ConnectionPool.Settings()
    var breaker = CircuitBreaker.Settings()
    var clock = GatewayClock.system
    var resolve: Connector.Resolver?
    var connectTimeout: TimeAmount?
}

/// Sends pushes. Owns connections, provider tokens and circuit breakers; decides nothing about challenges.
///
/// One credential has connections of its own to each host it sends to, so that teams and projects share neither streams nor
/// faults. What is in flight is bounded per host by ``PushGatewayConfiguration/maxInFlight``, and per credential and host by a limit that
/// falls while the provider fails or is slow.
/// ``close(deadline:)`` must be called before the last reference goes.
public final class PushGateway: Sendable {
    private struct Routes {
        var bySID: [String: CredentialRoute] = [:]
        /// Replaced or removed, still ending what they had.
        var retired: [ObjectIdentifier: CredentialRoute] = [:]
    }
    private enum Life { case open, closing, closed }

    let clock: GatewayClock
    let deadline: TimeAmount
    private let configuration: PushGatewayConfiguration
    private let tuning: GatewayTuning
    private let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    private let loops: [any EventLoop]
    private let connector: Connector
    private let client: HTTPClient
    private let counters = TransportCounters()
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
        // The deadline of a fetch bounds the rest. Our own back-off says when to try again, and the first error says why.
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

    /// Adds or replaces a credential (from topic `configuration`). A replaced key takes effect with the next push; the same
    /// credential once more changes nothing. A key that cannot be used is logged, and its pushes are credential faults.
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

    /// What is outstanding with it ends as it would have; later pushes are `deferred`.
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
            let lanes = try open.ways.map { way in
                guard let endpoint = endpoints[way] else {
                    throw PushGatewayError(code: .configuration, message: "no provider lists \(way.setting)")
                }
                return lane(endpoint, firstStreamAlone: open.startsWithOneStream, identified)
            }
            return CredentialRoute(
                secret: credential, way: .init(credential: open, authorization: authorization, lanes: lanes))
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

    private func lane(
        _ endpoint: Endpoint, firstStreamAlone: Bool, _ identified: Connector? = nil
    ) -> ProviderLane {
        var settings = tuning.pool
        settings.firstStreamAlone = firstStreamAlone
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
        return ProviderLane(
            endpoint: endpoint, pools: pools, host: host, breaker: CircuitBreaker(settings: tuning.breaker),
            limit: InFlightLimit(settings: limit), clock: clock, logger: logger)
    }

    // MARK: Life

    /// Outstanding pushes.
    public var inFlight: Int { outstanding.load(ordering: .sequentiallyConsistent) }

    /// A provider has three quarters of ``PushGatewayConfiguration/maxInFlight`` outstanding and seems well: whoever hands over pushes
    /// should wait. When it turns out not to be well, its pushes are deferred, and nobody need wait.
    public var isFull: Bool {
        guard hostLimits.contains(where: { $0.isFull }) else { return false }
        // Where everybody waits nothing comes by that would show a provider that hangs.
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
        statistics.connections = counters.connections.load(ordering: .relaxed)
        statistics.connectionsOpened = counters.connectionsOpened.load(ordering: .relaxed)
        statistics.connectionsLost = counters.connectionsLost.load(ordering: .relaxed)
        statistics.connectFailures = counters.connectFailures.load(ordering: .relaxed)
        statistics.goaways = counters.goaways.load(ordering: .relaxed)
        statistics.resends = counters.resends.load(ordering: .relaxed)
        statistics.timeouts = counters.timeouts.load(ordering: .relaxed)
        let routes = routes.withLock { Array($0.bySID.values) }
        statistics.openCircuits = routes.reduce(0) { $0 + $1.openCircuits }
        let most = hostLimits.map(\.share).max() ?? 0
        for provider in PushProviders.all { statistics.inFlightLimits[provider.platform] = most }
        for case let (platform, limit)? in routes.map(\.limit) {
            statistics.inFlightLimits[platform] = min(statistics.inFlightLimits[platform] ?? most, limit)
        }
        return statistics
    }

    var isClosing: Bool { life.load(ordering: .sequentiallyConsistent) != 0 }

    func began() { outstanding.add(1, ordering: .sequentiallyConsistent) }

    /// Counted out before the caller hears of it, so that whoever waits for an answer finds it counted.
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

    /// Ends connections after what is outstanding, or at the deadline (then those are `unknown`, or `deferred` when they had
    /// not left). Pushes sent meanwhile are `deferred`. A second call returns at once. Not cancellable.
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
