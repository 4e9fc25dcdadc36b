import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders
import ServiceSupport
import Storage

/// Something that is looked at. A look is taken once, however many checks need it.
enum Look: String, Sendable, Hashable, CaseIterable {
    case files, limits
    /// The way to each bootstrap server, and to each broker that they name.
    case kafka
    case topics, topicSettings, groups
    /// Whether records may be fetched.
    case reads
    case store
    /// Topic `configuration`, as a dispatcher reads it.
    case configurationTopic
    /// A probe with each provider credential.
    case probes
    case clock, egress, webhooks
}

/// What a look has seen, or why it has not.
enum Seen<Value: Sendable>: Sendable {
    case seen(Value)
    case not(_ because: String)

    var value: Value? { if case .seen(let value) = self { value } else { nil } }
}

/// A probe with one credential.
struct CredentialProbe: Sendable {
    let sid: String
    let platform: Platform
    /// False: no device is registered with it, so that the topic of the probe is not the app's.
    var hasKnownApp = true
    /// What is wrong with the credential before anything is sent; nil: nothing.
    var fault: String?
    /// When the certificate of the credential ends, in epoch milliseconds; nil: it has none.
    var expiresAtMs: Int64?
    var answer: PushAnswer?
}

/// One file that a role reads.
struct FileFacts: Sendable, Hashable {
    let file: ExaminedFile
    var role: Role
    /// Why it cannot be read or understood; nil: it can.
    var fault: String?
    var isReadableByOthers = false
    /// Of the first certificate in it, in epoch milliseconds.
    var expiresAtMs: Int64?
}

/// What the process may use.
struct ProcessFacts: Sendable, Hashable {
    var openFiles: Int
    /// Processors that the control group allows; nil: no limit.
    var processors: Double?
    /// Bytes that the control group allows; nil: no limit.
    var memory: Int64?
}

/// What was heard of another clock.
struct ClockFacts: Sendable, Hashable {
    let host: String
    /// Milliseconds by which our clock is ahead of it at least; below 0: behind.
    var aheadMs: Int64
}

/// A webhook's endpoint.
struct WebhookFacts: Sendable, Hashable {
    enum Fault: Sendable, Hashable {
        /// The rules do not allow the URL, or an address behind its name.
        case refused(String)
        case certificate(String)
        case unreachable(String)
    }

    let webhook: StoreFacts.Webhook
    var host: String
    var fault: Fault?
}

/// The certificate of a broker that a client does not trust.
struct KafkaCertificate: Sendable, Hashable {
    let address: String
    let said: String
}

struct KafkaFacts: Sendable {
    /// In the order of `kafka.bootstrapServers`.
    var servers: [KafkaReach] = []
    /// Brokers that are named by the servers, and are no servers themselves.
    var advertised: [KafkaReach] = []
    /// Our own handshake with those whose certificate does not verify.
    var certificates: [KafkaCertificate] = []

    /// A server has answered, and every broker that it names.
    var isReached: Bool { servers.contains { $0.obstacle == nil && !$0.isMisconfigured } }
}

/// What all looks have seen.
struct Facts: Sendable {
    let examination: Examination
    let nowMs: Int64
    var files: Seen<[FileFacts]> = .not("the configuration could not be read")
    var limits: Seen<ProcessFacts> = .not("the configuration could not be read")
    var kafka: Seen<KafkaFacts> = .not("the configuration could not be read")
    var topics: Seen<[KafkaTopicFacts]> = .not("the configuration could not be read")
    /// By topic.
    var topicSettings: Seen<[String: [String: String]]> = .not("the configuration could not be read")
    var groups: Seen<[KafkaGroupFacts]> = .not("the configuration could not be read")
    /// The error that a fetch got, by topic.
    var reads: Seen<[String: String]> = .not("the configuration could not be read")
    var store: Seen<Result<StoreFacts, StoreInspection.Failure>> = .not("the configuration could not be read")
    var configurationTopic: Seen<CredentialReading> = .not("the configuration could not be read")
    var probes: Seen<[CredentialProbe]> = .not("the configuration could not be read")
    var clock: Seen<[ClockFacts]> = .not("the configuration could not be read")
    var egress: Seen<[ProviderEndpoint: TLSLook]> = .not("the configuration could not be read")
    var webhooks: Seen<[WebhookFacts]> = .not("the configuration could not be read")
    var took: [Look: Duration] = [:]

    var names: TopicNames { examination.topics }

    init(_ examination: Examination, nowMs: Int64) {
        self.examination = examination
        self.nowMs = nowMs
    }
}
