/// The configuration of the connection to the brokers, shared by all clients of a process.
public struct KafkaConfiguration: Sendable {
    /// `host:port,host:port`.
    public var bootstrapServers: String
    /// Any librdkafka property, set last.
    public var properties: [String: String]
    /// True for the embedded broker. Because it does not wake a waiting fetch, `fetch.wait.max.ms` is
    /// ``embeddedFetchWaitMs`` and `linger.ms` at most 1. Sessions are shorter.
    public var isEmbedded: Bool
    /// How long a consumer's fetch waits at the embedded broker, in milliseconds, from 1. A record that arrives meanwhile
    /// is found by the next fetch only, so this is the longest delay of a record; every fetch costs processor time, also
    /// when there is nothing to read. Default 10.
    public var embeddedFetchWaitMs = 10
    /// How often a running role looks whether topics and logs are still those that it began with. Default 1 s.
    public var watchInterval: Duration = .seconds(1)
    /// Where this process runs, for example its host and its admin port. Living processes have different places. A
    /// process that is started again after a crash has the place of the process that died. Members of groups have it in
    /// their `client.id` (`beckon-<place>`), and do not join while the dead process is a member (decision 25). Letters,
    /// digits, `.`, `_` and `-`. Nil, the default: the place is not known, and a member joins at once.
    public var place: String?
    /// How long a member in a known ``place`` waits, before it joins, while no broker says who is in the group. Default
    /// 5 s.
    var mostUnanswered: Duration = .seconds(5)
    /// Collects, from every client of this configuration and its copies, the reasons why Kafka refuses it.
    public let diagnosis = KafkaDiagnosis()

    public init(bootstrapServers: String, properties: [String: String] = [:], isEmbedded: Bool = false) {
        self.bootstrapServers = bootstrapServers
        self.properties = properties
        self.isEmbedded = isEmbedded
    }

    /// How long the group's coordinator keeps a silent member: `session.timeout.ms` as librdkafka reads it, also when
    /// ``properties`` set it. 15 s, or 3 s with the embedded broker. Kafka gives the groups and partitions of a dead
    /// broker to others after `broker.session.timeout.ms` (9 s). A session must be longer than this, plus the search
    /// for the new coordinator and a heartbeat.
    public var sessionTimeout: Duration { .milliseconds(Int(effective("session.timeout.ms") ?? "") ?? 15_000) }

    /// How long the sender of an acknowledged commit certainly owns its partitions, counted from the time the commit
    /// was sent. The coordinator counts a session from the last request of a member, and gives no partition away before
    /// the session has ended. The margin is half the session, at most 2 s. It covers work that was just allowed to
    /// start, and the embedded broker, which elects a second early. An unavailable coordinator does not change this,
    /// because its successor starts every session again.
    public var ownershipFence: Duration { sessionTimeout - min(sessionTimeout / 2, .seconds(2)) }

    /// The `client.id` that only a process in this ``place`` has. Nil without a place, when ``properties`` set another
    /// one, and for the embedded broker, which cannot be asked for the members of a group.
    var ownClientID: String? {
        guard let place, !isEmbedded, properties["client.id"] == nil else { return nil }
        return "beckon-\(place)"
    }

    /// Longest time of a drain on a revocation or SIGTERM: 2 s, or 1 s with the embedded broker.
    public var drainBound: Duration { isEmbedded ? .seconds(1) : .seconds(2) }
}
