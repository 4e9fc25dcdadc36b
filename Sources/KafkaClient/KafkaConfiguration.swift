/// How to reach the brokers, shared by every client of a process.
public struct KafkaConfiguration: Sendable {
    /// `host:port,host:port`.
    public var bootstrapServers: String
    /// Any librdkafka property, set last.
    public var properties: [String: String]
    /// The stand-in broker wakes no waiting fetch: `fetch.wait.max.ms=10` and `linger.ms` at most 1, shorter sessions.
    public var isEmbedded: Bool

    public init(bootstrapServers: String, properties: [String: String] = [:], isEmbedded: Bool = false) {
        self.bootstrapServers = bootstrapServers
        self.properties = properties
        self.isEmbedded = isEmbedded
    }

    /// `session.timeout.ms`: 6,000, embedded 3,000.
    public var sessionTimeout: Duration { isEmbedded ? .seconds(3) : .seconds(6) }
    /// How long a drain on revoke or SIGTERM may take: 2 s, embedded 1 s.
    public var drainBound: Duration { isEmbedded ? .seconds(1) : .seconds(2) }
}
