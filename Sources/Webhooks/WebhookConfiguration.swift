public import ChallengeModel
public import GuardedHTTP
public import KafkaClient
public import ServiceSupport

/// How the webhook relay reaches Kafka and its customers' endpoints.
public struct WebhookConfiguration: Sendable {
    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// The ring of `BECKON_RECORD_KEYS`.
    public var recordKeys: KeyRing
    /// Consumer group; `<prefix>webhooks` by default.
    public var groupID: String
    /// What may be connected to.
    public var rules = OutboundRules()
    /// Nil: the system's name servers.
    public var nameServers: NameServers?
    /// PEM roots for the endpoints instead of the system's.
    public var caFile: String?
    /// Shown to endpoints that ask for a client certificate; nil: none.
    public var clientIdentity: ClientIdentity?
    /// The name of this sender, as receivers that must consent read it.
    public var origin = "beckon"
    /// Event loops of the HTTP client.
    public var threads = 1
    /// Records in progress at once, over all partitions.
    public var maxRecords = 4096
    /// Requests under way at once: of the process, of one account, and to one host.
    public var maxInFlight = 2048
    public var maxInFlightPerAccount = 1024
    public var maxInFlightPerHost = 512
    /// How long subscriptions and secrets are used before they are read again.
    public var subscriptionsKept: Duration = .seconds(2)
    public var commitEvery: Duration = .seconds(1)
    /// Longest wait for requests under way when the relays share their partitions anew: all relays wait for the slowest.
    /// An event whose request has had no answer by then is sent again by the next owner, with the same id.
    public var handOverBound: Duration = .milliseconds(500)
    /// Nil: no spans are made.
    public var tracer: ServiceTracer?

    public init(kafka: KafkaConfiguration, topics: TopicNames = TopicNames(), recordKeys: KeyRing) {
        self.kafka = kafka
        self.topics = topics
        self.recordKeys = recordKeys
        groupID = topics.prefix + "webhooks"
    }
}
