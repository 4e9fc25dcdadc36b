public import ChallengeModel
public import KafkaClient
public import ServiceSupport

/// The configuration of the ack tracker: its connection to Kafka and its rules.
public struct TrackerConfiguration: Sendable {
    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// `BECKON_RECORD_KEYS`.
    public var recordKeys: KeyRing
    /// The keys that sign events; nil: events are not signed.
    public var eventKeys: KeyRing?
    /// Consumer group; `<prefix>ack-tracker` by default.
    public var groupID: String
    public var policy: TrackerPolicy
    /// Step of the timers. 10 ms by default.
    public var tick: Duration
    /// Interval at which positions are recorded and committed; nil: 1 s, or a sixth of the session timeout if that is
    /// less.
    public var commitInterval: Duration?
    /// A commit is the checkpoint from this time before the oldest held challenge was read. 60 s by default.
    public var checkpointLead: Duration
    /// Maximum number of records that are taken from a partition at once, 1 to 10,000. 500 by default.
    public var batchSize: Int
    /// Maximum number of unacknowledged writes of one partition. Above it, the partition is not read. 5,000 by default.
    public var maxOutstandingWrites: Int
    /// Deadline of an end-offset query, a commit and a metadata query. 5 s each by default.
    public var requestDeadline: Duration
    /// Nil: no spans are made.
    public var tracer: ServiceTracer?

    public init(kafka: KafkaConfiguration, topics: TopicNames = TopicNames(), recordKeys: KeyRing) {
        self.kafka = kafka
        self.topics = topics
        self.recordKeys = recordKeys
        groupID = topics.prefix + "ack-tracker"
        policy = TrackerPolicy()
        tick = .milliseconds(10)
        commitInterval = nil
        checkpointLead = .seconds(60)
        batchSize = 500
        maxOutstandingWrites = 5_000
        requestDeadline = .seconds(5)
    }
}

/// The rules of redelivery and escalation. Times in milliseconds.
public struct TrackerPolicy: Sendable, Hashable {
    /// Time from `accepted` to the next attempt, for a dispatch without a value. Dispatches of the Producer always have
    /// one: from the challenge, its service, or the Producer's defaults, which equal these.
    public var expectedLatencyMs: UInt32 = 8_000
    /// Maximum number of dispatches that a provider accepts per device, including the first, for a dispatch without a
    /// value.
    public var maxAttempts: UInt8 = 4
    /// Factor by which each further wait is longer.
    public var growth: Double = 1.5
    /// Remaining life below which no attempt is made (or the expected latency, if that is less).
    public var usefulMs: Int64 = 5_000
    /// Shortest wait after `deferred`; grows by ``growth`` with each.
    public var minimumDeferralMs: Int64 = 1_000
    /// Remaining share of a challenge's life at which the backend is told at the latest.
    public var escalateWhenLeft: Double = 0.4
    /// Time for which a challenge is held after its expiry.
    public var holdAfterExpiryMs: Int64 = 60_000
    /// A challenge that is held longer is written again. This is slightly less than ten minutes, so that a replay never
    /// reads back that far.
    public var carryAfterMs: Int64 = 590_000
    /// Time for which facts wait for their challenge.
    public var earlyFactsMs: Int64 = 60_000
    /// Maximum number of challenges per partition that are known only from facts. Facts of further challenges are
    /// dropped and counted.
    public var maxEarly: Int = 50_000
    /// Time over which due actions are spread after a restart (at most an eighth of the remaining life).
    public var restartSpreadMs: Int64 = 5_000
    /// `adaptive`: the expected latency is this quantile of the measurements times the factor, between floor and
    /// ceiling, after a minimum number of samples. docs/redelivery.md gives the reasons.
    public var adaptiveQuantile: Double = 0.85
    public var adaptiveFactor: Double = 1.0
    public var adaptiveFloorMs: Int64 = 2_000
    public var adaptiveCeilingMs: Int64 = 60_000
    public var adaptiveSamples: Int = 20

    public init() {}
}
