public import ChallengeModel
public import KafkaClient

/// What a dispatcher needs to know and what bounds it.
public struct DispatcherConfiguration: Sendable {
    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// `BECKON_RECORD_KEYS`: checks and signs records, seals receipt tokens.
    public var recordKeys: KeyRing
    /// `BECKON_CONFIGURATION_KEYS`: opens provider credentials.
    public var configurationKeys: KeyRing
    /// One group for all dispatchers of a prefix; `<prefix>dispatcher` by default.
    public var groupID: String

    /// Pushes of one partition from taking the record to the acknowledged outcome.
    public var maxPushesPerLane = 2048
    /// Bytes of the records behind them.
    public var maxBytesPerLane = 4 << 20
    /// The same over all partitions. At most what the gateway takes, else it answers `deferred`. Each takes about 5 KB; 25,000 a
    /// second fill it when a provider and the broker take 120 ms together.
    public var maxPushesPerProcess = 3072
    public var maxBytesPerProcess = 16 << 20

    /// Commits go out this often, also unchanged: they are the sign that we are still members.
    public var commitInterval: Duration = .seconds(1)
    /// How long pushes in flight are waited for on revoke and SIGTERM; 2 s, embedded 1 s.
    public var drainBound: Duration
    /// How long the outcomes of a drain may take to be acknowledged.
    public var flushBound: Duration = .seconds(1)
    /// A loop that stands still, or a push without an answer, for this long ends the process. Longer than a push's deadline (at most 20 s).
    public var watchdogBound: Duration = .seconds(30)

    /// A `deferred` answer is tried once more in the lane when its time comes within this.
    public var quickRetryWithin: Duration = .milliseconds(1500)
    /// … and the challenge then has at least this much left.
    public var quickRetryLeft: Duration = .seconds(2)

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

    /// Smaller fetches than librdkafka's: a response stays in memory while any record of it is in our hands, and there are four
    /// topics' partitions to read. What an operator has set counts more.
    var consumerKafka: KafkaConfiguration {
        var kafka = kafka
        kafka.properties.merge(["fetch.message.max.bytes": "131072", "queued.max.messages.kbytes": "128"]) { set, _ in
            set
        }
        return kafka
    }

    /// Outcomes come out of the lanes in bursts: a millisecond makes one request of a burst.
    var producerKafka: KafkaConfiguration {
        var kafka = kafka
        kafka.properties.merge(["linger.ms": kafka.isEmbedded ? "1" : "2"]) { set, _ in set }
        return kafka
    }

    /// No push starts when the last acknowledged commit was sent longer ago.
    var commitFreshness: Duration { kafka.ownershipFence }
}
