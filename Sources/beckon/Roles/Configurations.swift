import AckTracker
import ChallengeModel
import Challenges
import DispatcherWorker
import Foundation
import GuardedHTTP
import HTTPEdge
import Producer
import PushGateway
import PushProviders
import ServiceSupport
import Webhooks
import Wire

// Creates each role's configuration from the settings. No other file knows both.

enum RoleConfigurations {
    /// Makes the configuration of a role and drops it: for `beckon config check`, which finds values that are right one
    /// by one and wrong together.
    /// - Throws: what would end the role's process at its start.
    static func check(_ role: Role, _ settings: Settings) throws {
        switch role {
        case .producer:
            _ = try StoreLocation(settings)
            _ = try ProducerConfiguration(settings)
            (_, _) = (try ChallengeLimits(settings), try TokenBrake(settings))
        case .dispatcher: (_, _) = (try DispatcherConfiguration(settings), try PushGatewayConfiguration(settings))
        case .ackTracker: _ = try TrackerConfiguration(settings)
        case .webhooks: (_, _) = (try StoreLocation(settings), try WebhookConfiguration(settings))
        // The keys of the others depend on nothing else.
        default: break
        }
    }
}

extension ProducerConfiguration {
    init(_ settings: Settings) throws {
        self.init(
            kafka: try settings.kafka(), topics: .init(prefix: try settings(Settings.topicPrefix)),
            recordKeys: try settings(Settings.recordKeys),
            entranceAccount: try settings.optional(Settings.entranceAccount) ?? nil)
        host = try settings(Settings.apiHost)
        port = try settings(Settings.apiPort)
        publicURL = try settings.optional(Settings.apiPublicURL)
        outboxLimit = try settings(Settings.outboxLimit)
        maxLongPolls = try settings(Settings.apiMaxLongPolls)
        http.edge.maxConnections = try settings(Settings.apiMaxConnections)
        http.edge.maxConnectionsPerAddress = try settings(Settings.apiMaxConnectionsPerAddress)
        outbound = try OutboundRules(settings)
        eventKeys = try settings.optional(Settings.eventKeys)
        tls = try Self.files(settings, Settings.apiCertificate, Settings.apiKey)
        corsOrigins = try (settings.optional(Settings.apiCORSOrigins) ?? "").split(separator: ",").map {
            $0.trimmingCharacters(in: .whitespaces)
        }
        if let text = try settings.optional(Settings.hmsCallbackKeys) {
            guard let keys = HMSCallbackKeys(parsing: text) else {
                throw SettingsError(
                    "hms.callbackKeys: expected <user>:<key>,…, at most 32 pairs, each key with at least 16 characters")
            }
            hmsCallback = keys
        }
        if let text = try settings.optional(Settings.apiTrustedProxies) {
            guard let proxies = TrustedProxies(parsing: text) else {
                throw SettingsError("api.trustedProxies: expected addresses or networks, 10.0.0.0/8,fd00::/8,192.0.2.7")
            }
            trustedProxies = proxies
        }
        if let port = try settings.optional(Settings.deviceAPIPort) {
            var device = DeviceAPI()
            device.host = try settings(Settings.deviceAPIHost)
            device.port = port
            device.publicURL = try settings.optional(Settings.deviceAPIPublicURL)
            device.tls = try Self.files(settings, Settings.deviceAPICertificate, Settings.deviceAPIKey) ?? tls
            deviceAPI = device
        }
    }

    private static func files(
        _ settings: Settings, _ certificate: Setting<String>, _ key: Setting<String>
    ) throws -> TLSFiles? {
        switch (try settings.optional(certificate), try settings.optional(key)) {
        case (let certificate?, let key?): return TLSFiles(certificateChain: certificate, privateKey: key)
        case (nil, nil): return nil
        default:
            throw SettingsError(
                "\(certificate.description.key) and \(key.description.key) belong together: set both to use TLS, or neither"
            )
        }
    }
}

extension ChallengeLimits {
    init(_ settings: Settings) throws {
        self.init()
        burst = try settings(Settings.limitBurst)
        intervalMs = try settings(Settings.limitInterval).wholeMilliseconds
        pending = try settings(Settings.limitPending)
        denials = try settings(Settings.limitDenials)
        denialWindowMs = try settings(Settings.limitDenialWindow).wholeMilliseconds
        quietMs = try settings(Settings.limitQuiet).wholeMilliseconds
        factorGuesses = try settings(Settings.limitFactorGuesses)
        identityGuesses = try settings(Settings.limitIdentityGuesses)
        guessWindowMs = try settings(Settings.limitGuessWindow).wholeMilliseconds
    }
}

extension TokenBrake {
    init(_ settings: Settings) throws {
        self.init()
        windowMs = try settings(Settings.tokensBrakeWindow).wholeMilliseconds
        minimum = Int64(try settings(Settings.tokensBrakeMinimum))
        sharePercent = Int64(try settings(Settings.tokensBrakeShare))
    }
}

extension DispatcherConfiguration {
    init(_ settings: Settings) throws {
        self.init(
            kafka: try settings.kafka(), topics: .init(prefix: try settings(Settings.topicPrefix)),
            recordKeys: try settings(Settings.recordKeys), configurationKeys: try settings(Settings.configurationKeys))
    }
}

extension PushGatewayConfiguration {
    init(_ settings: Settings) throws {
        self.init()
        for endpoint in PushProviders.endpoints { self[endpoint] = try settings(Settings.url(of: endpoint)) }
        proxyURL = try settings.optional(Settings.providersProxy)
        caFile = try settings.optional(Settings.providersCAFile)
        deadline = try settings(Settings.pushDeadline)
        maxInFlight = try settings(Settings.pushMaxInFlight)
        maxConnectionsPerHost = try settings(Settings.pushMaxConnections)
        eventLoopThreads = try settings(Settings.pushThreads)
    }
}

extension TrackerConfiguration {
    init(_ settings: Settings) throws {
        self.init(
            kafka: try settings.kafka(), topics: .init(prefix: try settings(Settings.topicPrefix)),
            recordKeys: try settings(Settings.recordKeys))
        eventKeys = try settings.optional(Settings.eventKeys)
    }
}

extension OutboundRules {
    init(_ settings: Settings) throws {
        guard let rules = OutboundRules(parsing: try settings.optional(Settings.webhooksAllowedHosts) ?? "") else {
            throw SettingsError(
                "webhooks.allowedHosts: expected host names, with or without a port, and networks: "
                    + "hooks.internal,hooks.internal:8080,10.1.0.0/16")
        }
        self = rules
        allowsClearText = try settings(Settings.webhooksAllowClearText)
        // Our own brokers, by whatever name a customer knows them.
        for server in try settings(Settings.kafkaServers).split(separator: ",") {
            let host = server.split(separator: ":").dropLast().joined(separator: ":")
            if let address = IPAddress(host) {
                ownAddresses.insert(address)
            } else {
                ownNames.insert(host.lowercased())
            }
        }
    }
}

extension WebhookConfiguration {
    init(_ settings: Settings) throws {
        self.init(
            kafka: try settings.kafka(), topics: .init(prefix: try settings(Settings.topicPrefix)),
            recordKeys: try settings(Settings.recordKeys))
        rules = try OutboundRules(settings)
        caFile = try settings.optional(Settings.webhooksCAFile)
        switch (
            try settings.optional(Settings.webhooksClientCertificateFile),
            try settings.optional(Settings.webhooksClientKeyFile)
        ) {
        case (nil, nil): break
        case (let certificate?, let key?):
            clientIdentity = ClientIdentity(certificateFile: certificate, keyFile: key)
        default:
            throw SettingsError("webhooks.clientCertificateFile and webhooks.clientKeyFile: set both, or neither")
        }
        origin = try settings(Settings.webhooksOrigin)
        threads = try settings(Settings.webhooksThreads)
        maxInFlight = try settings(Settings.webhooksMaxInFlight)
        maxInFlightPerAccount = max(1, maxInFlight / 2)
        maxInFlightPerHost = max(1, maxInFlight / 4)
        if let text = try settings.optional(Settings.webhooksNameServers) {
            guard let servers = NameServers(parsing: text) else {
                throw SettingsError("webhooks.nameServers: expected IP addresses, 10.0.0.2,fd00::53")
            }
            nameServers = servers
        }
    }
}
