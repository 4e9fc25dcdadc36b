import Crypto
import CryptoExtras
import DeviceKit
import Foundation
import HTTPEdge
import Hummingbird
public import Logging
import NIOCore
import NIOPosix
public import ServiceLifecycle
import Wire

/// Where the simulators listen and how strict they are.
public struct SimulatorConfiguration: Sendable {
    /// Address of the providers' ports.
    public var host = "127.0.0.1"
    /// Name in the providers' URLs; must be one that the certificate is good for.
    public var publicHost = "127.0.0.1"
    /// 0: any free port.
    public var apnsPort = 0
    public var fcmPort = 0
    public var hmsPort = 0
    public var controlPort = 0
    /// Address of the control port, which has no authentication.
    public var controlHost = "127.0.0.1"
    /// Names and addresses that the certificate is good for.
    public var certificateHosts = ["localhost", "127.0.0.1", "::1"]
    /// Event loops for the providers' connections.
    public var eventLoopThreads = 1
    /// Streams at once on an APNs connection after its first authenticated answer; before it 1.
    public var apnsStreams = 1000
    /// Streams at once on an FCM connection.
    public var fcmStreams = 100
    /// Streams at once on an HMS connection.
    public var hmsStreams = 100
    /// Distinct APNs provider tokens per key in 20 minutes; the next one gets `TooManyProviderTokenUpdates`.
    /// Every process that pushes needs one, every start of it too.
    public var providerTokenUpdates = 20
    /// Of FCM's OAuth access tokens, seconds.
    public var accessTokenLifeSeconds: Int64 = 3599
    /// Of HMS's, seconds.
    public var hmsAccessTokenLifeSeconds: Int64 = 3600
    /// Tokens that nobody has registered: accepted and lead nowhere (false), or refused (true).
    public var refusesUnknownTokens = false
    /// Requests that the log still knows.
    public var logBound = 20_000
    /// Seed of the faults' dice.
    public var seed: UInt64 = 1
    public var nowMs: @Sendable () -> Int64 = SimulatorClock.systemMs

    public init() {}
}

/// Where running simulators are.
public struct SimulatorAddresses: Sendable, Codable, Hashable {
    /// `https://127.0.0.1:PORT`.
    public var apnsURL: String
    public var fcmURL: String
    /// `…/token` on FCM's port.
    public var fcmTokenURL: String
    public var hmsURL: String
    /// `…/oauth2/v3/token` on HMS's port.
    public var hmsTokenURL: String
    /// `http://127.0.0.1:PORT`: registers credentials and devices, switches faults, shows logs and counters.
    public var controlURL: String
}

/// An APNs signing key as Apple's portal hands it out.
public struct APNsKey: Sendable, Codable, Hashable {
    public var teamID: String
    public var keyID: String
    /// The text of the `.p8` file.
    public var privateKeyPEM: String
}

/// An app of HMS as AppGallery Connect shows it.
public struct HMSAppSecret: Sendable, Codable, Hashable {
    public var appID: String
    public var appSecret: String
}

/// Look-alikes of APNs, FCM and HMS over TLS and HTTP/2, the network from them to simulated phones, and a control port.
///
/// A `Service`: runs from ``run()`` to graceful shutdown or cancellation. ``addresses()`` waits until all ports are
/// bound.
public final class SimulatedProviders: Service {
    /// What clients have to trust.
    public let certificates: SimulatedCertificates
    /// The phones' side, for phones in this process.
    public let network: PushNetwork
    private let configuration: SimulatorConfiguration
    private let logger: Logger
    private let tokens: APNsProviderTokens
    private let accounts: FCMAccounts
    private let apps: HMSApps
    private let injectors: [SimulatedProvider: FaultInjector]
    private let gate = StartGate<SimulatorAddresses>()
    private let listeners = StartGate<[SimulatedProvider: ProviderListener]>()

    /// - Throws: when no certificate can be made for the configured names.
    public init(configuration: SimulatorConfiguration = SimulatorConfiguration(), logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        certificates = try SimulatedCertificates(hosts: configuration.certificateHosts)
        network = PushNetwork(
            logBound: configuration.logBound, refusesUnknownTokens: configuration.refusesUnknownTokens,
            nowMs: configuration.nowMs)
        tokens = APNsProviderTokens(mostUpdates: configuration.providerTokenUpdates)
        accounts = FCMAccounts(accessLifeSeconds: configuration.accessTokenLifeSeconds)
        apps = HMSApps(accessLifeSeconds: configuration.hmsAccessTokenLifeSeconds)
        injectors = [
            .apn: FaultInjector(seed: configuration.seed, nowMs: configuration.nowMs),
            .fcm: FaultInjector(seed: configuration.seed &+ 1, nowMs: configuration.nowMs),
            .hms: FaultInjector(seed: configuration.seed &+ 2, nowMs: configuration.nowMs),
        ]
    }

    /// Waits until everything listens.
    /// - Throws: why it does not, or that it has stopped; `CancellationError`.
    public func addresses() async throws -> SimulatorAddresses { try await gate.value() }

    /// Runs simulators around `body` and stops them after it.
    public static func withRunning<Value: Sendable>(
        configuration: SimulatorConfiguration = SimulatorConfiguration(), logger: Logger,
        _ body: (SimulatedProviders, SimulatorAddresses) async throws -> Value
    ) async throws -> Value {
        let providers = try SimulatedProviders(configuration: configuration, logger: logger)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await providers.run() }
            let addresses = try await providers.addresses()
            let value = try await body(providers, addresses)
            group.cancelAll()
            while (try? await group.next()) != nil {}
            return value
        }
    }

    /// Binds the ports and serves until shut down. To be called once.
    public func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: max(configuration.eventLoopThreads, 1))
        var outcome = Result<Void, any Error>.success(())
        do {
            try await withGracefulShutdownHandler {
                try await serve(on: group)
            } onGracefulShutdown: {
                // Phones' receptions live as long as they are wanted: the control port would wait for them.
                self.network.close()
            }
        } catch {
            outcome = .failure(error)
        }
        network.close()
        let stopped = SimulatorError("the simulators have stopped")
        gate.settle(.failure((try? outcome.get()) == nil ? SimulatorError("\(outcome)") : stopped))
        listeners.settle(.failure(stopped))
        try? await group.shutdownGracefully()
        try outcome.get()
    }

    private func serve(on group: any EventLoopGroup) async throws {
        let ownTokenURL = SettableText()
        guard let apnsFaults = injectors[.apn], let fcmFaults = injectors[.fcm], let hmsFaults = injectors[.hms] else {
            return
        }
        let apns = try await ProviderListener.start(
            host: configuration.host, port: configuration.apnsPort, flag: "--simulator-apns-port", group: group,
            logger: logger,
            certificates: certificates,
            allowsHTTP1: false,
            responder: APNsSimulator(
                network: network, tokens: tokens, injector: apnsFaults, nowMs: configuration.nowMs,
                limits: ConnectionLimits(
                    firstStreams: 1, streams: configuration.apnsStreams, longestBody: APNsPayload.longest)))
        let fcm = try await ProviderListener.start(
            host: configuration.host, port: configuration.fcmPort, flag: "--simulator-fcm-port", group: group,
            logger: logger,
            certificates: certificates,
            allowsHTTP1: true,
            responder: FCMSimulator(
                network: network, accounts: accounts, injector: fcmFaults, nowMs: configuration.nowMs,
                limits: ConnectionLimits(
                    firstStreams: configuration.fcmStreams, streams: configuration.fcmStreams, longestBody: 16_384),
                ownTokenURL: ownTokenURL))
        let hms = try await ProviderListener.start(
            host: configuration.host, port: configuration.hmsPort, flag: "--simulator-hms-port", group: group,
            logger: logger,
            certificates: certificates,
            allowsHTTP1: true,
            responder: HMSSimulator(
                network: network, apps: apps, receipts: network.receipts, injector: hmsFaults,
                nowMs: configuration.nowMs,
                // A thousand tokens beside the message.
                limits: ConnectionLimits(
                    firstStreams: configuration.hmsStreams, streams: configuration.hmsStreams, longestBody: 524_288)))
        let hmsURL = "https://\(configuration.publicHost):\(hms.port)"
        let fcmURL = "https://\(configuration.publicHost):\(fcm.port)"
        let apnsURL = "https://\(configuration.publicHost):\(apns.port)"
        ownTokenURL.set("\(fcmURL)/token")
        listeners.settle(.success([.apn: apns, .fcm: fcm, .hms: hms]))
        let control = SimulatorServer(
            network: network,
            providers: [
                .apn: .init(injector: apnsFaults, listener: apns), .fcm: .init(injector: fcmFaults, listener: fcm),
                .hms: .init(injector: hmsFaults, listener: hms),
            ], register: { [self] in try register($0) },
            makeAPNsKey: { [self] in try makeAPNsKey() },
            makeServiceAccount: { [self] in try makeServiceAccount() }, makeHMSApp: { [self] in makeHMSApp() },
            setCallback: { [self] in setReceiptCallback($0, appID: $1) })
        let application = Application(
            router: control.router(),
            configuration: .init(address: .hostname(configuration.controlHost, port: configuration.controlPort)),
            onServerRunning: { [gate, logger, host = configuration.controlHost] channel in
                await AcceptGuard.install(on: channel, book: nil, logger: logger)
                let port = channel.localAddress?.port ?? 0
                gate.settle(
                    .success(
                        SimulatorAddresses(
                            apnsURL: apnsURL, fcmURL: fcmURL, fcmTokenURL: "\(fcmURL)/token", hmsURL: hmsURL,
                            hmsTokenURL: hmsURL + HMSSimulator.tokenPath,
                            controlURL: "http://\(host):\(port)")))
                logger.info(
                    "simulators listen",
                    metadata: [
                        "apns": "\(apnsURL)", "fcm": "\(fcmURL)", "hms": "\(hmsURL)", "control_port": "\(port)",
                    ])
            },
            eventLoopGroupProvider: .shared(group), logger: logger)
        let result: Result<Void, any Error> = await withTaskGroup { group in
            group.addTask { [network] in await network.receipts.run() }
            defer { group.cancelAll() }
            do {
                return .success(
                    try await ProviderListener.opening(
                        host: configuration.controlHost, port: configuration.controlPort,
                        flag: "--simulator-control-port"
                    ) { try await application.run() })
            } catch {
                return .failure(error)
            }
        }
        for listener in [apns, fcm, hms] { await listener.close() }
        try result.get()
    }

    // MARK: Senders

    /// Makes the look-alikes know a sender.
    /// - Throws: ``SimulatorError`` when the public key is not one.
    public func register(_ credential: CredentialRegistration) throws {
        switch credential {
        case .apn(let teamID, let keyID, let publicKeyPEM, let topics):
            guard let key = try? P256.Signing.PublicKey(pemRepresentation: publicKeyPEM) else {
                throw SimulatorError("public_key must be a P-256 public key in PEM")
            }
            tokens.register(team: teamID, key: keyID, publicKey: key, topics: topics.map(Set.init))
        case .fcm(let projectID, let clientEmail, let publicKeyPEM):
            guard let key = try? _RSA.Signing.PublicKey(pemRepresentation: publicKeyPEM) else {
                throw SimulatorError("public_key must be an RSA public key of at least 2,048 bits in PEM")
            }
            accounts.register(project: projectID, clientEmail: clientEmail, publicKey: key)
        case .hms(let appID, let appSecret): apps.register(app: appID, secret: appSecret)
        }
    }

    /// The key is known no more: `InvalidProviderToken`.
    public func revokeAPNsKey(teamID: String, keyID: String) { tokens.revoke(team: teamID, key: keyID) }

    /// The service account is known no more, and its access tokens are void.
    public func revokeServiceAccount(clientEmail: String) { accounts.revoke(clientEmail: clientEmail) }

    /// The HMS app is known no more, and its access tokens are void.
    public func revokeHMSApp(appID: String) { apps.revoke(app: appID) }

    /// A fresh HMS app, registered, as AppGallery Connect would show it.
    public func makeHMSApp() -> HMSAppSecret {
        let app = HMSAppSecret(
            appID: "1\(Int.random(in: 10_000_000...99_999_999))", appSecret: Hexadecimal.random(digits: 64))
        apps.register(app: app.appID, secret: app.appSecret)
        return app
    }

    /// Where an HMS app's delivery receipts go, with `*` every app's that has no callback of its own; nil: it gets
    /// none, as before.
    public func setReceiptCallback(_ callback: HMSCallback?, appID: String) {
        network.receipts.setCallback(callback, app: appID)
    }

    /// A fresh APNs signing key, registered, as Apple's portal would hand it out.
    /// - Parameter topics: bundle ids that it may push to; nil: all.
    public func makeAPNsKey(
        topics: [String]? = nil
    ) throws -> APNsKey {
        let key = P256.Signing.PrivateKey()
        let teamID = Self.word(10)
        let keyID = Self.word(10)
        tokens.register(team: teamID, key: keyID, publicKey: key.publicKey, topics: topics.map(Set.init))
        return APNsKey(teamID: teamID, keyID: keyID, privateKeyPEM: key.pemRepresentation + "\n")
    }

    /// A fresh service account, registered: the JSON that Google's console would hand out, with Google's `token_uri`.
    /// - Parameter tokenURI: nil: Google's own.
    public func makeServiceAccount(projectID: String = "beckon-simulated", tokenURI: String? = nil) throws -> String {
        let key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let email = "sender-\(Self.word(8).lowercased())@\(projectID).iam.gserviceaccount.com"
        accounts.register(project: projectID, clientEmail: email, publicKey: key.publicKey)
        return """
            {
              "type": "service_account",
              "project_id": \(JSONText.quoted(projectID)),
              "private_key_id": "\(Hexadecimal.random(digits: 40))",
              "private_key": \(JSONText.quoted(key.pkcs8PEMRepresentation + "\n")),
              "client_email": \(JSONText.quoted(email)),
              "client_id": "\(UInt64.random(in: 1_000_000_000_000_000_000...UInt64.max / 2))",
              "auth_uri": "https://accounts.google.com/o/oauth2/auth",
              "token_uri": \(JSONText.quoted(tokenURI ?? FCMAccounts.googleAudience)),
              "universe_domain": "googleapis.com"
            }
            """
    }

    // MARK: Watching and disturbing

    public func faults(_ provider: SimulatedProvider) -> ProviderFaults {
        injectors[provider]?.faults ?? ProviderFaults()
    }

    /// Replaces a provider's faults, from the next request on.
    public func setFaults(_ faults: ProviderFaults, _ provider: SimulatedProvider) { injectors[provider]?.set(faults) }

    /// GOAWAY on all connections of a provider: streams that it has seen are answered, later ones are not looked at.
    public func goAway(_ provider: SimulatedProvider) async throws { try await listeners.value()[provider]?.goAway() }

    /// Ends all connections of a provider without a word.
    public func cutConnections(_ provider: SimulatedProvider) async throws {
        try await listeners.value()[provider]?.cut()
    }

    /// Distinct good provider tokens seen of a key.
    public func distinctProviderTokens(teamID: String, keyID: String) -> Int {
        tokens.distinctTokens(team: teamID, key: keyID)
    }

    /// OAuth access tokens of FCM handed out.
    public var accessTokensGranted: Int { accounts.granted }

    /// … of HMS.
    public var hmsAccessTokensGranted: Int { apps.granted }

    private static func word(_ count: Int) -> String {
        let letters = Array("ABCDEFGHJKLMNPQRSTUVWXYZ23456789".utf8)
        return String(decoding: (0..<count).map { _ in letters[Int.random(in: 0..<letters.count)] }, as: UTF8.self)
    }
}
