public import ChallengeModel
public import HTTPEdge
public import KafkaClient

/// What the Producer needs to know. Everything but Kafka, topics and keys has a default.
public struct ProducerConfiguration: Sendable {
    /// Where devices call, when that is not where backends call.
    public struct DeviceAPI: Sendable {
        public var host = "127.0.0.1"
        /// 0: any free port, see ``ProducerService/boundDevicePort``.
        public var port = 0
        /// As ``ProducerConfiguration/publicURL``.
        public var publicURL: String?
        /// Nil: plain HTTP.
        public var tls: TLSFiles?

        public init() {}
    }

    /// Address to listen on; default `127.0.0.1`.
    public var host = "127.0.0.1"
    /// 0 to 65,535; 0: any free port, see ``ProducerService/boundPort``. Default 8080.
    public var port = 8080
    /// What stands in front of paths in replies, `https://verify.example.com`, without a slash at its end; nil: as the caller
    /// reached us, by `Host`. Set it behind a proxy that ends TLS.
    public var publicURL: String?
    /// Nil: plain HTTP, for loopback or behind a proxy.
    public var tls: TLSFiles?
    public var http = HTTPLimits()
    /// How often the certificate's files are looked at for a renewal; default 5 s.
    public var certificateInterval: Duration = .seconds(5)
    /// A second address, which serves devices only and refuses account keys; nil: devices use the first.
    public var deviceAPI: DeviceAPI?
    /// Pages that may call from a browser, each as its `Origin`; none: no header of CORS is sent.
    public var corsOrigins: [String] = []
    /// Whose `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto` count.
    public var trustedProxies = TrustedProxies()

    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// `BECKON_RECORD_KEYS`: signs records, receipt tokens and page tokens.
    public var recordKeys: KeyRing
    /// Who may post HMS's delivery receipts to `/v2/HmsReceipts`; nil: nobody.
    public var hmsCallback: HMSCallbackKeys?
    /// The account that the entrance topics are bound to; nil: the entrances are not read.
    public var entranceAccount: AccountSID?
    /// Records of one entrance under way at once; default 256, so that they share commits.
    public var entranceInFlight = 256
    /// Default 1 s.
    public var entranceCommitInterval: Duration = .seconds(1)

    /// Requests that wait for a change of their challenge at once, 0 to 100,000; one more is answered at once. Default 2,000.
    public var maxLongPolls = 2000

    /// What is refused within it leaves one mark per kind and address in the audit trail. Default 60 s.
    public var refusalInterval: Duration = .seconds(60)
    /// From one writing of the whole configuration to topic `configuration` to the next. Default 1 h.
    public var republishInterval: Duration = .seconds(3600)
    /// Between two rounds that write what has expired; readers see it without them. Default 500 ms.
    public var sweepInterval: Duration = .milliseconds(500)
    /// Outbox rows from which creations answer 503; default 100,000.
    public var outboxLimit = 100_000
    /// How often the outbox is counted; default 500 ms.
    public var outboxSampling: Duration = .milliseconds(500)
    /// How long between two tries to reach Kafka at start; default 2 s.
    public var kafkaRetry: Duration = .seconds(2)
    /// For what is still unsent when the Kafka producer is closed; default 5 s.
    public var flushDeadline: Duration = .seconds(5)

    public init(
        kafka: KafkaConfiguration, topics: TopicNames, recordKeys: KeyRing, entranceAccount: AccountSID? = nil
    ) {
        self.kafka = kafka
        self.topics = topics
        self.recordKeys = recordKeys
        self.entranceAccount = entranceAccount
    }
}
