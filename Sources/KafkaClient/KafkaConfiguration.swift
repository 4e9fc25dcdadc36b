/// How to reach the brokers, shared by every client of a process.
public struct KafkaConfiguration: Sendable {
    /// `host:port,host:port`.
    public var bootstrapServers: String
    /// Any librdkafka property, set last.
    public var properties: [String: String]
    /// The stand-in broker wakes no waiting fetch: `fetch.wait.max.ms=10` and `linger.ms` at most 1, shorter sessions.
    public var isEmbedded: Bool
    /// Gets from every client of this configuration and its copies why Kafka does not serve it.
    public let diagnosis = KafkaDiagnosis()

    public init(bootstrapServers: String, properties: [String: String] = [:], isEmbedded: Bool = false) {
        self.bootstrapServers = bootstrapServers
        self.properties = properties
        self.isEmbedded = isEmbedded
    }

    /// How long the group's coordinator keeps a member of which it hears nothing: `session.timeout.ms` as librdkafka reads it,
    /// also when ``properties`` set it. 15 s, embedded 3 s. Kafka gives a dead broker's groups and partitions to others after
    /// `broker.session.timeout.ms` (9 s); a session has to outlast that, the search for the new coordinator and a heartbeat.
    public var sessionTimeout: Duration { .milliseconds(Int(effective("session.timeout.ms") ?? "") ?? 15_000) }

    /// For how long after an acknowledged commit was sent its sender certainly owns its partitions: the coordinator counts a
    /// session from what it heard last, and gives nothing away before it has ended. The margin, half the session and at most
    /// 2 s, is for what was let through last to be sent, and for the stand-in broker, which elects a second early. A
    /// coordinator that is away changes nothing about this: its successor begins every session anew.
    public var ownershipFence: Duration { sessionTimeout - min(sessionTimeout / 2, .seconds(2)) }

    /// How long a drain on revoke or SIGTERM may take: 2 s, embedded 1 s.
    public var drainBound: Duration { isEmbedded ? .seconds(1) : .seconds(2) }
}
