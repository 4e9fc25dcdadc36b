public import ChallengeModel
public import KafkaClient
public import ServiceSupport

/// The configuration of a dispatcher, with its limits.
public struct DispatcherConfiguration: Sendable {
    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// `BECKON_RECORD_KEYS`, which check and sign records and seal receipt tokens.
    public var recordKeys: KeyRing
    /// `BECKON_CONFIGURATION_KEYS`, which open provider credentials.
    public var configurationKeys: KeyRing
    /// The consumer group of all dispatchers of a prefix; `<prefix>dispatcher` by default.
    public var groupID: String

    /// Maximum number of pushes of one partition, counted from taking the record to the acknowledged outcome.
    public var maxPushesPerLane = 2048
    /// Maximum size of the records of these pushes in bytes.
    public var maxBytesPerLane = 4 << 20
    /// The same over all partitions. It must not exceed the gateway's limit, because the gateway then answers
    /// `deferred`. Each push takes about 5 KB. 25,000 pushes a second use it up when a provider and the broker together
    /// take 120 ms.
    public var maxPushesPerProcess = 3072
    public var maxBytesPerProcess = 16 << 20

    /// Interval of commits. An unchanged commit is sent too, because it shows that the dispatcher is still a member.
    public var commitInterval: Duration = .seconds(1)
    /// Longest wait for pushes in flight on a revocation and SIGTERM; 2 s, or 1 s with the embedded broker.
    public var drainBound: Duration
    /// Longest wait for the acknowledgement of outcomes in a drain.
    public var flushBound: Duration = .seconds(1)
    /// Time after which a loop without progress, or a push without an answer, ends the process. It is longer than a
    /// push's deadline (at most 20 s).
    public var watchdogBound: Duration = .seconds(30)

    /// A `deferred` push is tried once more in the lane when its time comes within this time …
    public var quickRetryWithin: Duration = .milliseconds(1500)
    /// … and the challenge then has at least this much life left.
    public var quickRetryLeft: Duration = .seconds(2)

    /// Nil: no spans are made.
    public var tracer: ServiceTracer?

    /// Fingerprints of pushes that are done, over all lanes: two minutes of about 5,000 a second,
    /// half a minute of 25,000.
    public var doneSetBytes = 12 << 20
    /// Fingerprints of receipts, resolutions and later dispatches, over all lanes.
    public var factBytes = 16 << 20

    public init(
        kafka: KafkaConfiguration, topics: TopicNames = TopicNames(), recordKeys: KeyRing, configurationKeys: KeyRing,
        groupID: String? = nil
    ) {
        self.kafka = kafka
        self.topics = topics
        self.recordKeys = recordKeys
        self.configurationKeys = configurationKeys
        self.groupID = groupID ?? topics.prefix + "dispatcher"
        drainBound = kafka.drainBound
    }

    /// Smaller fetches than librdkafka's default: a response stays in memory while any of its records is in use, and
    /// partitions of four topics are read. An operator's setting has priority.
    var consumerKafka: KafkaConfiguration {
        var kafka = kafka
        kafka.properties.merge(["fetch.message.max.bytes": "131072", "queued.max.messages.kbytes": "128"]) { set, _ in
            set
        }
        return kafka
    }

    /// Lanes write outcomes in bursts. A linger time of a millisecond combines a burst into one request.
    var producerKafka: KafkaConfiguration {
        var kafka = kafka
        kafka.properties.merge(["linger.ms": kafka.isEmbedded ? "1" : "2"]) { set, _ in set }
        return kafka
    }

    /// No push starts when the last acknowledged commit was sent longer ago than this.
    var commitFreshness: Duration { kafka.ownershipFence }
}
