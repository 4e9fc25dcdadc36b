public import ChallengeModel

/// How a topic must be on a cluster. `beckon topics create` makes the topics so, `beckon topics check` compares them.
public struct TopicPlan: Sendable, Hashable {
    public let topic: Topic
    /// The number of partitions, unless another is asked for. The topics keyed by challenge SID share one number.
    public let partitions: Int
    /// How long a record is kept at least; nil: the topic is compacted, and the last record of each key is kept.
    public let retentionMs: Int64?
    /// The size of a record that the topic must accept at least.
    public let recordBytes: Int

    /// The plans of all topics, in the order of ``Topic``.
    public static let all: [TopicPlan] = Topic.allCases.map { topic in
        let hourMs: Int64 = 3_600_000
        return switch topic {
        case .requests: TopicPlan(topic: topic, partitions: 12, retentionMs: 24 * hourMs, recordBytes: 65_536)
        case .receiptRequests, .challenges, .outcomes, .receipts, .resolutions:
            TopicPlan(topic: topic, partitions: 12, retentionMs: 2 * hourMs, recordBytes: 65_536)
        case .events: TopicPlan(topic: topic, partitions: 12, retentionMs: 7 * 24 * hourMs, recordBytes: 65_536)
        case .configuration: TopicPlan(topic: topic, partitions: 1, retentionMs: nil, recordBytes: 65_536)
        case .deadLetters:
            TopicPlan(topic: topic, partitions: 1, retentionMs: 14 * 24 * hourMs, recordBytes: 600_000)
        }
    }

    public static subscript(topic: Topic) -> TopicPlan {
        // `all` has an element for each topic.
        all.first { $0.topic == topic } ?? all[0]
    }

    /// The settings that a topic is created with, by Kafka's names.
    /// - Parameter replicas: 1 or more.
    public func settings(replicas: Int) -> [String: String] {
        var settings = [
            "cleanup.policy": retentionMs == nil ? "compact" : "delete",
            // With more than one replica, one broker may fail, and an acknowledged record survives it.
            "min.insync.replicas": String(max(1, replicas - 1)),
            "unclean.leader.election.enable": "false", "message.timestamp.type": "CreateTime",
        ]
        if let retentionMs { settings["retention.ms"] = String(retentionMs) }
        if let segmentMs { settings["segment.ms"] = String(segmentMs) }
        return settings
    }

    /// Kafka deletes whole segments, and never the one that is written to. With its default of seven days, push tokens
    /// and messages would be kept for a week where there is little traffic.
    private var segmentMs: Int64? { retentionMs.map { max(600_000, $0 / 4) } }
}

extension TopicPlan {
    /// The number of partitions that the topic is created with. A topic keyed by challenge gets the number of those that
    /// exist: with another one no role would work.
    /// - Parameters:
    ///   - asked: for the topics that have more than one partition.
    ///   - found: the numbers of the topics that exist.
    public func partitions(asked: Int, beside found: [Topic: Int]) -> Int {
        guard partitions > 1 else { return partitions }
        guard Topic.copartitioned.contains(topic) else { return asked }
        let numbers = Set(Topic.copartitioned.compactMap { found[$0] })
        return numbers.count == 1 ? numbers.first ?? asked : asked
    }
}

/// A difference between a topic and its plan.
public struct TopicFinding: Sendable, Hashable {
    /// The full name of the topic.
    public let name: String
    /// The setting by Kafka's name, or `partitions`, `replicas` or `topic`.
    public let setting: String
    /// The value on the cluster.
    public let found: String
    /// The right value.
    public let expected: String
    /// What the difference does.
    public let meaning: String
    /// A command or a step that makes it right.
    public let mend: String
}

extension TopicPlan {
    /// Compares the topics of a cluster with their plans.
    /// - Parameters:
    ///   - found: partitions, replicas and settings of each topic that exists.
    ///   - replicas: the number of replicas that each topic must have at least.
    ///   - server: for the commands, `host:port`.
    public static func findings(
        _ found: [Topic: (partitions: Int, replicas: Int, settings: [String: String])], names: TopicNames,
        replicas: Int, server: String
    ) -> [TopicFinding] {
        var findings: [TopicFinding] = []
        for plan in all {
            let name = names[plan.topic]
            guard let topic = found[plan.topic] else {
                findings.append(
                    TopicFinding(
                        name: name, setting: "topic", found: "none", expected: "exists",
                        meaning: "the roles that use it are not ready", mend: "beckon topics create"))
                continue
            }
            findings += plan.findings(
                name, replicas: topic.replicas, least: replicas, settings: topic.settings, server: server)
        }
        let counts = Topic.copartitioned.compactMap { topic in found[topic].map { (topic, $0.partitions) } }
        if Set(counts.map(\.1)).count > 1 {
            let told = counts.map { "\(names[$0.0]) \($0.1)" }.joined(separator: ", ")
            findings.append(
                TopicFinding(
                    name: names[.challenges], setting: "partitions", found: told, expected: "one number for all four",
                    meaning: "no role pushes, relays or acts on a timer",
                    mend: "create new topics with beckon topics create --topics-prefix NEW, and drain the old ones; "
                        + "never add partitions to these topics"))
        }
        return findings
    }

    private func findings(
        _ name: String, replicas: Int, least: Int, settings: [String: String], server: String
    ) -> [TopicFinding] {
        var findings: [TopicFinding] = []
        func add(_ setting: String, _ found: String, _ expected: String, _ meaning: String, mend: String? = nil) {
            let command =
                "kafka-configs --bootstrap-server \(server) --alter --entity-type topics --entity-name \(name) "
                + "--add-config \(setting)=\(expected)"
            findings.append(
                TopicFinding(
                    name: name, setting: setting, found: found, expected: expected, meaning: meaning,
                    mend: mend ?? command))
        }
        func number(_ setting: String) -> Int64? { settings[setting].flatMap { Int64($0) } }
        if replicas < least {
            add(
                "replicas", "\(replicas)", "\(least)", "the loss of \(replicas) broker loses acknowledged records",
                mend: "kafka-reassign-partitions --bootstrap-server \(server) with \(least) replicas for \(name)")
        }
        if let inSync = number("min.insync.replicas") {
            let wanted = Int64(max(1, replicas - 1))
            if inSync > replicas {
                add(
                    "min.insync.replicas", "\(inSync)", "\(wanted)",
                    "no record can be written: there are only \(replicas) replicas")
            } else if inSync == replicas, replicas > 1 {
                add(
                    "min.insync.replicas", "\(inSync)", "\(wanted)", "no record can be written while one broker is down"
                )
            } else if inSync < 2, replicas > 2 {
                add(
                    "min.insync.replicas", "\(inSync)", "\(wanted)",
                    "a record that only one broker has counts as acknowledged")
            }
        }
        if settings["unclean.leader.election.enable"] == "true" {
            add(
                "unclean.leader.election.enable", "true", "false",
                "after the loss of brokers, acknowledged records can vanish")
        }
        let policy = settings["cleanup.policy"] ?? ""
        let wantedPolicy = retentionMs == nil ? "compact" : "delete"
        if !policy.isEmpty, policy != wantedPolicy {
            add(
                "cleanup.policy", policy, wantedPolicy,
                retentionMs == nil
                    ? "the newest record of a key is deleted by its age; a dispatcher that starts later lacks it"
                    : "older records of a key are removed while roles still need them")
        }
        if let retentionMs, let found = number("retention.ms"), found >= 0, found < retentionMs {
            add("retention.ms", "\(found)", "\(retentionMs)", "records are deleted before all roles have read them")
        }
        if let retentionMs, let segmentMs, let found = number("segment.ms"), found > retentionMs {
            add("segment.ms", "\(found)", "\(segmentMs)", "records are kept for much longer than their retention")
        }
        if let found = number("retention.bytes"), found >= 0 {
            add("retention.bytes", "\(found)", "-1", "under load, records are deleted before all roles have read them")
        }
        if topic == .requests, settings["message.timestamp.type"] == "LogAppendTime" {
            add(
                "message.timestamp.type", "LogAppendTime", "CreateTime",
                "the life of a challenge does not start when the backend wrote its request")
        }
        if let found = number("max.message.bytes"), found < recordBytes {
            add("max.message.bytes", "\(found)", "\(max(recordBytes, 1_048_588))", "large records are refused")
        }
        return findings
    }
}
