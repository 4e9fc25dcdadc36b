public import ChallengeModel
public import GuardedHTTP
public import HTTPEdge
public import KafkaClient
public import ServiceSupport

/// The Producer's configuration. Everything except Kafka, topics and keys has a default.
public struct ProducerConfiguration: Sendable {
    /// The address for devices, when it differs from the address for backends.
    public struct DeviceAPI: Sendable {
        public var host = "127.0.0.1"
        /// 0: any free port, see ``ProducerService/boundDevicePort``.
        public var port = 0
        /// Like ``ProducerConfiguration/publicURL``.
        public var publicURL: String?
        /// Nil: plain HTTP.
        public var tls: TLSFiles?

        public init() {}
    }

    /// Address to listen on; default `127.0.0.1`.
    public var host = "127.0.0.1"
    /// 0 to 65,535; 0: any free port, see ``ProducerService/boundPort``. Default 8080.
    public var port = 8080
    /// The URL before the paths in replies, `https://verify.example.com`, without a slash at its end; nil: the `Host`
    /// of the request is used. Set it behind a proxy that ends TLS.
    public var publicURL: String?
    /// Nil: plain HTTP, for loopback or behind a proxy.
    public var tls: TLSFiles?
    public var http = HTTPLimits()
    /// Interval at which the certificate's files are checked for a renewal; default 5 s.
    public var certificateInterval: Duration = .seconds(5)
    /// A second address that serves only devices and refuses account keys; nil: devices use the first address.
    public var deviceAPI: DeviceAPI?
    /// Origins of pages that may call the API from a browser; none: no CORS headers are sent.
    public var corsOrigins: [String] = []
    /// Proxies whose `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto` are trusted.
    public var trustedProxies = TrustedProxies()
    /// The keys that sign events; nil: events are not signed.
    public var eventKeys: KeyRing?
    /// Which hosts and ports the URLs of webhooks may name.
    public var outbound = OutboundRules()

    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// `BECKON_RECORD_KEYS`, which sign records, receipt tokens and page tokens.
    public var recordKeys: KeyRing
    /// The keys that sign HMS's delivery receipts to `/v2/HmsReceipts`; nil: all receipts are refused.
    public var hmsCallback: HMSCallbackKeys?
    /// The account that the entrance topics are bound to; nil: the entrances are not read.
    public var entranceAccount: AccountSID?
    /// Records of one entrance that are processed at the same time; default 256, so that they share commits.
    public var entranceInFlight = 256
    /// Default 1 s.
    public var entranceCommitInterval: Duration = .seconds(1)

    /// Nil: no spans are made.
    public var tracer: ServiceTracer?

    /// Maximum number of requests that wait for a change of their challenge, 0 to 100,000. One more is answered at
    /// once. Default 2,000.
    public var maxLongPolls = Settings.apiMaxLongPolls.standard

    /// Interval in which equal refusals share one audit event per kind and address. Default 60 s.
    public var refusalInterval: Duration = .seconds(60)
    /// Interval at which the whole configuration is written to topic `configuration` again. Default 1 h.
    public var republishInterval: Duration = .seconds(3600)
    /// Interval of the sweep that writes expired challenges. Readers see the expiry without it. Default 500 ms.
    public var sweepInterval: Duration = .milliseconds(500)
    /// Outbox rows from which creations answer 503; default 100,000.
    public var outboxLimit = Settings.outboxLimit.standard
    /// Interval at which the outbox is counted; default 500 ms.
    public var outboxSampling: Duration = .milliseconds(500)
    /// Wait between two tries to reach Kafka at start; default 2 s.
    public var kafkaRetry: Duration = .seconds(2)
    /// Deadline for unsent records when the Kafka producer is closed; default 5 s.
    public var flushDeadline: Duration = .seconds(5)

    /// The consumer group of the Producers that read outcomes and receipts.
    public var groupID: String { "\(topics.prefix)producer-\(DeliveryRecords.name)" }

    public init(
        kafka: KafkaConfiguration, topics: TopicNames, recordKeys: KeyRing, entranceAccount: AccountSID? = nil
    ) {
        self.kafka = kafka
        self.topics = topics
        self.recordKeys = recordKeys
        self.entranceAccount = entranceAccount
    }
}
