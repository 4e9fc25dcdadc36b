import AckTracker
import ChallengeModel
import DispatcherWorker
import Producer
import PushGateway
import ServiceSupport

// From settings to each role's configuration: the only place that knows both.

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
        let certificate = try settings.optional(Settings.apiCertificate)
        let key = try settings.optional(Settings.apiKey)
        switch (certificate, key) {
        case (let certificate?, let key?): tls = TLSFiles(certificateChain: certificate, privateKey: key)
        case (nil, nil): break
        default:
            throw SettingsError(
                "api.tlsCertificateFile and api.tlsKeyFile belong together: set both for TLS, or none for plain HTTP")
        }
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
        apnsURL = try settings(Settings.apnsURL)
        apnsSandboxURL = try settings(Settings.apnsSandboxURL)
        fcmURL = try settings(Settings.fcmURL)
        fcmTokenURL = try settings(Settings.fcmTokenURL)
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
        let latency = try settings(Settings.trackerLatency)
        policy.expectedLatencyMs = UInt32(
            latency.components.seconds * 1000 + latency.components.attoseconds / 1_000_000_000_000_000)
        policy.maxAttempts = UInt8(try settings(Settings.trackerAttempts))
    }
}
