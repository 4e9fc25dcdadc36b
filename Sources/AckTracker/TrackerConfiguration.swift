public import ChallengeModel
public import KafkaClient

/// How the ack tracker reaches Kafka and how it decides.
public struct TrackerConfiguration: Sendable {
    public var kafka: KafkaConfiguration
    public var topics: TopicNames
    /// The ring of `BECKON_RECORD_KEYS`.
    public var recordKeys: KeyRing
    /// Consumer group; `<prefix>ack-tracker` by default.
    public var groupID: String
    public var policy: TrackerPolicy
    /// Step of the timers. 10 ms by default.
    public var tick: Duration
    /// How often positions are noted and committed; nil: 1 s, or a sixth of the session timeout if that is less.
    public var commitInterval: Duration?
    /// A commit is the checkpoint taken so long before the oldest challenge still held was read. 60 s by default.
    public var checkpointLead: Duration
    /// Records taken from a partition at once, 1 to 10,000. 500 by default.
    public var batchSize: Int
    /// Writes of one partition that wait for the broker's acknowledgement; beyond it the partition is not read on. 5,000.
    public var maxOutstandingWrites: Int
    /// One end-offset query, one commit, one metadata query: 5 s each by default.
    public var requestDeadline: Duration

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
    /// From `accepted` to the next attempt, where a dispatch does not say. The Producer's always do: they have the challenge's, its
    /// service's, or the Producer's own numbers, which are these.
    public var expectedLatencyMs: UInt32 = 8_000
    /// Dispatches that a provider took, the first included, per device, where a dispatch does not say.
    public var maxAttempts: UInt8 = 4
    /// Each further attempt waits so many times longer.
    public var growth: Double = 1.5
    /// An attempt with less life left is not worth it (or the expected latency, if that is less).
    public var usefulMs: Int64 = 5_000
    /// Shortest wait after `deferred`; grows by ``growth`` with each.
    public var minimumDeferralMs: Int64 = 1_000
    /// Share of a challenge's life that is left when the backend is told at the latest.
    public var escalateWhenLeft: Double = 0.4
    /// A challenge is held so long beyond its expiry.
    public var holdAfterExpiryMs: Int64 = 60_000
    /// One held longer is written again: a little before ten minutes, so that nothing held that long is read back.
    public var carryAfterMs: Int64 = 590_000
    /// How long facts wait for their challenge.
    public var earlyFactsMs: Int64 = 60_000
    /// Challenges known by facts alone, per partition; facts of further ones are dropped and counted.
    public var maxEarly: Int = 50_000
    /// After a restart what is due is spread over so long (at most an eighth of the remaining life).
    public var restartSpreadMs: Int64 = 5_000
    /// `adaptive`: this quantile of what was measured, times the factor, between floor and ceiling, from so many samples on.
    /// Where docs/redelivery.md shows why.
    public var adaptiveQuantile: Double = 0.85
    public var adaptiveFactor: Double = 1.0
    public var adaptiveFloorMs: Int64 = 2_000
    public var adaptiveCeilingMs: Int64 = 60_000
    public var adaptiveSamples: Int = 20

    public init() {}
}
