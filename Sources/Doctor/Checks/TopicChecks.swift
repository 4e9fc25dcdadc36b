import ChallengeModel
import KafkaClient
import ServiceSupport

extension Doctor {
    static let topicChecks = [
        missingCheck, rightsCheck, partitionsCheck, replicationCheck, electionCheck, retentionCheck, sizeCheck,
        groupCheck,
    ]

    private static func withTopics(
        _ facts: Facts, _ judge: ([(topic: Topic, facts: KafkaTopicFacts)]) -> Verdict
    ) -> Verdict {
        switch facts.topics {
        case .not(let because): return .skipped(because)
        case .seen(let found):
            let needed = TopicRules.needed(by: facts.examination.roles.map(\.role))
            return judge(
                found.compactMap { one in
                    facts.names.topic(named: one.name).flatMap { needed.contains($0) ? ($0, one) : nil }
                })
        }
    }

    /// With the settings of each topic that the roles need.
    private static func withSettings(
        _ facts: Facts, _ judge: ([(topic: Topic, name: String, settings: [String: String])]) -> Verdict
    ) -> Verdict {
        switch facts.topicSettings {
        case .not(let because): return .skipped(because)
        case .seen(let settings):
            let needed = TopicRules.needed(by: facts.examination.roles.map(\.role))
            return judge(
                Topic.allCases.filter(needed.contains).compactMap { topic in
                    let name = facts.names[topic]
                    return settings[name].map { (topic, name, $0) }
                })
        }
    }

    private static let alter =
        "kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name <topic> --add-config"

    // MARK: 12

    private static let missing = Mistake(
        "missing", .failure, sees: "`Unknown topic or partition`",
        means:
            "the topic <topic> does not exist, or this user has no right to see it (DESCRIBE); the roles stay unready",
        mend:
            "beckon topics create --kafka-bootstrap-servers HOST:PORT --partitions <partitions> --replication 3; it creates the topics that are missing and changes no other; without the right to create topics: --dry-run prints the plan"
    )

    private static let missingCheck = Check(
        "topics", "The topics exist, and each partition has a leader", roles: Role.workers, looks: [.topics],
        mistakes: [missing, leaderless]
    ) { facts in
        withTopics(facts) { topics in
            let four = topics.filter { Topic.copartitioned.contains($0.topic) }.map(\.facts.partitions.count).max() ?? 0
            var findings: [Finding] = []
            for (topic, found) in topics {
                if found.error == "UNKNOWN_TOPIC_OR_PART" {
                    findings.append(
                        missing.found(
                            "\(found.name): Unknown topic or partition",
                            ["topic": found.name, "partitions": "\(four > 0 ? four : 12)"]))
                }
                let away = found.partitions.count { $0.leader < 0 }
                if away > 0 {
                    findings.append(
                        leaderless.found(
                            "\(found.name): \(away) of \(found.partitions.count) partitions have no leader",
                            ["topic": found.name]))
                }
            }
            // Check 13 tells of the rights.
            let hidden = topics.count { $0.facts.error == "TOPIC_AUTHORIZATION_FAILED" }
            if findings.isEmpty, hidden == topics.count, hidden > 0 {
                return .skipped("the brokers show this user none of the topics")
            }
            return .judged(
                findings,
                else: "\(topics.count - hidden) topics" + (hidden > 0 ? ", \(hidden) not shown to this user" : ""))
        }
    }

    private static let leaderless = Mistake(
        "no-leader", .unreachable, sees: "a partition without a leader",
        means: "records of these partitions of <topic> can be neither read nor written",
        mend:
            "start the brokers that hold the partitions: kafka-topics.sh --bootstrap-server HOST:PORT --describe --unavailable-partitions"
    )

    // MARK: 13

    private static let noTopicRight = Mistake(
        "topic-right", .failure, sees: "`Topic authorization failed` for a topic's description or for a fetch from it",
        means: "the user of this client may not read <topic>",
        mend:
            "beckon topics acl --kafka-bootstrap-servers HOST:PORT prints the commands that give each role its rights; an administrator of the cluster runs them"
    )
    private static let noGroupRight = Mistake(
        "group-right", .failure, sees: "`Group authorization failed`",
        means: "the user of this client may not join the consumer group <group>",
        mend:
            "beckon topics acl --kafka-bootstrap-servers HOST:PORT prints the commands that give each role its rights; an administrator of the cluster runs them"
    )

    private static let rightsCheck = Check(
        "rights", "The roles may read their topics and join their groups", roles: Role.workers,
        looks: [.topics, .reads, .groups], mistakes: [noTopicRight, noGroupRight]
    ) { facts in
        guard case .seen(let topics) = facts.topics else {
            if case .not(let because) = facts.topics { return .skipped(because) }
            return .skipped("")
        }
        let needed = Set(TopicRules.needed(by: facts.examination.roles.map(\.role)).map { facts.names[$0] })
        var refused = facts.reads.value ?? [:]
        for topic in topics where needed.contains(topic.name) {
            if let error = topic.error, refused[topic.name] == nil { refused[topic.name] = error }
        }
        var findings = refused.sorted { $0.key < $1.key }.filter { $0.value == "TOPIC_AUTHORIZATION_FAILED" }.map {
            noTopicRight.found("\($0.key): Topic authorization failed", ["topic": $0.key])
        }
        for group in facts.groups.value ?? [] where group.error == "GROUP_AUTHORIZATION_FAILED" {
            findings.append(noGroupRight.found("\(group.id): Group authorization failed", ["group": group.id]))
        }
        return .judged(findings, else: "reading; writing is not tried")
    }

    // MARK: 14

    private static let differing = Mistake(
        "differ", .failure, sees: "the four topics keyed by challenge have different numbers of partitions",
        means:
            "the records of one challenge would be in partitions with different numbers; the roles push, relay and act on nothing",
        mend:
            "never add partitions. Drain the system, create the topics with one number of partitions under a new prefix, set topics.prefix to it and start the roles again: docs/operations.md"
    )
    private static let few = Mistake(
        "few", .warning, sees: "fewer partitions than members of a group",
        means: "<idle> members of the group <group> get no partition and do nothing",
        mend:
            "run at most <partitions> instances of the role, or create the topics with more partitions under a new topics.prefix"
    )

    private static let partitionsCheck = Check(
        "partitions", "The four topics have one number of partitions", roles: Role.workers, looks: [.topics, .groups],
        mistakes: [differing, few]
    ) { facts in
        withTopics(facts) { topics in
            let four = topics.filter { Topic.copartitioned.contains($0.topic) && $0.facts.error == nil }
            guard !four.isEmpty else { return .skipped("none of the four topics was seen") }
            let counts = Set(four.map(\.facts.partitions.count))
            var findings: [Finding] = []
            if counts.count > 1 {
                findings.append(
                    differing.found(
                        four.map { "\($0.facts.name): \($0.facts.partitions.count)" }.joined(separator: ", ")))
            }
            let least = counts.min() ?? 0
            for group in facts.groups.value ?? [] where group.members.count > least {
                findings.append(
                    few.found(
                        "\(group.id): \(group.members.count) members, \(least) partitions",
                        [
                            "idle": "\(group.members.count - least)", "group": group.id, "partitions": "\(least)",
                        ]))
            }
            return .judged(findings, else: "\(least) each")
        }
    }

    // MARK: 15

    private static let single = Mistake(
        "one-replica", .failure, sees: "a topic with replication factor 1",
        means: "when its broker is lost, acknowledged challenges on <topic> are lost with it",
        mend:
            "raise the replication factor of <topic> to 3: kafka-reassign-partitions.sh; docs/operations.md")
    private static let unwritable = Mistake(
        "min-insync-too-high", .failure, sees: "`min.insync.replicas` above the number of replicas",
        means: "nothing can be written to <topic> (`Not enough in-sync replicas`)",
        mend: alter + " min.insync.replicas=2")
    private static let brittle = Mistake(
        "min-insync-equal", .warning, sees: "`min.insync.replicas` equal to the number of replicas, above 1",
        means: "nothing can be written to <topic> while one broker is away",
        mend: alter + " min.insync.replicas=2, and 3 replicas")
    private static let lax = Mistake(
        "min-insync-one", .warning, sees: "`min.insync.replicas=1` with several replicas",
        means: "a record of <topic> can be acknowledged by one broker alone, and is lost with it",
        mend: alter + " min.insync.replicas=2")

    private static let replicationCheck = Check(
        "replication", "A lost broker loses nothing and stops nothing", roles: Role.workers,
        looks: [.topics, .topicSettings], mistakes: [single, unwritable, brittle, lax]
    ) { facts in
        withTopics(facts) { topics in
            guard case .seen(let settings) = facts.topicSettings else {
                if case .not(let because) = facts.topicSettings { return .skipped(because) }
                return .skipped("")
            }
            var findings: [Finding] = []
            for (_, found) in topics where found.error == nil {
                let replicas = found.partitions.map(\.replicas).min() ?? 0
                let least = settings[found.name]?["min.insync.replicas"].flatMap { Int($0) } ?? 1
                let values = ["topic": found.name]
                let saw = "\(found.name): \(replicas) replicas, min.insync.replicas=\(least)"
                if least > replicas {
                    findings.append(unwritable.found(saw, values))
                } else if replicas == 1 {
                    findings.append(single.found(saw, values))
                } else if least == replicas {
                    findings.append(brittle.found(saw, values))
                } else if least == 1 {
                    findings.append(lax.found(saw, values))
                }
            }
            return .judged(findings, else: "3 replicas, 2 in sync, or better")
        }
    }

    // MARK: 16

    private static let unclean = Mistake(
        "unclean-election", .failure, sees: "`unclean.leader.election.enable=true`",
        means: "a broker that has missed records of <topic> may become its leader: acknowledged challenges vanish",
        mend: alter + " unclean.leader.election.enable=false")

    private static let electionCheck = Check(
        "unclean-election", "Only a broker that has all records becomes a leader", roles: Role.workers,
        looks: [.topicSettings], mistakes: [unclean]
    ) { facts in
        withSettings(facts) { topics in
            .judged(
                topics.filter { $0.settings["unclean.leader.election.enable"] == "true" }.map {
                    unclean.found("\($0.name): unclean.leader.election.enable=true", ["topic": $0.name])
                }, else: "off")
        }
    }

    // MARK: 17

    private static let short = Mistake(
        "retention-short", .failure, sees: "`retention.ms` below what the topic needs",
        means: "records of <topic> are deleted while Beckon still needs them", mend: alter + " retention.ms=<ms>")
    private static let bytes = Mistake(
        "retention-bytes", .warning, sees: "`retention.bytes` is set",
        means: "a burst deletes records of <topic> before their time", mend: alter + " retention.bytes=-1")
    private static let uncompacted = Mistake(
        "not-compacted", .failure, sees: "topic `configuration` without `cleanup.policy=compact`",
        means: "credentials in <topic> are deleted after the retention, and dispatchers that start later have none",
        mend: alter + " cleanup.policy=compact")
    private static let compacted = Mistake(
        "compacted", .failure, sees: "another topic with `cleanup.policy=compact`",
        means: "older records of a key in <topic> are removed: the story of a challenge has holes",
        mend: alter + " cleanup.policy=delete")
    private static let appendTime = Mistake(
        "log-append-time", .warning, sees: "`message.timestamp.type=LogAppendTime` on topic `requests`",
        means: "the life of a challenge counts from the time of the broker, not from the time of the backend's record",
        mend: alter + " message.timestamp.type=CreateTime")

    private static let retentionCheck = Check(
        "retention", "The topics keep their records for long enough", roles: Role.workers, looks: [.topicSettings],
        mistakes: [short, bytes, uncompacted, compacted, appendTime]
    ) { facts in
        withSettings(facts) { topics in
            var findings: [Finding] = []
            for (topic, name, settings) in topics {
                let policy = settings["cleanup.policy"] ?? "delete"
                let kept = settings["retention.ms"].flatMap { Int64($0) } ?? -1
                func values(_ ms: Int64 = 0) -> [String: String] { ["topic": name, "ms": "\(ms)"] }
                if let needed = TopicRules.retentionMs(topic) {
                    if kept >= 0, kept < needed {
                        findings.append(
                            short.found("\(name): retention.ms=\(kept), expected at least \(needed)", values(needed)))
                    }
                    if policy.contains("compact") {
                        findings.append(compacted.found("\(name): cleanup.policy=\(policy)", values()))
                    }
                    if let limit = settings["retention.bytes"].flatMap({ Int64($0) }), limit >= 0 {
                        findings.append(bytes.found("\(name): retention.bytes=\(limit)", values()))
                    }
                } else if policy != "compact" {
                    findings.append(uncompacted.found("\(name): cleanup.policy=\(policy)", values()))
                }
                if topic == .requests, settings["message.timestamp.type"] == "LogAppendTime" {
                    findings.append(appendTime.found("\(name): message.timestamp.type=LogAppendTime", values()))
                }
            }
            return .judged(findings, else: "\(topics.count) topics")
        }
    }

    // MARK: 18

    private static let small = Mistake(
        "dead-letters-too-small", .failure, sees: "`max.message.bytes` of `dead-letters` below 600,000",
        means: "a large dead letter cannot be written to <topic>, and its partition waits",
        mend: alter + " max.message.bytes=1000000")

    private static let sizeCheck = Check(
        "record-size", "Dead letters fit into their topic", roles: Role.workers, looks: [.topicSettings],
        mistakes: [small]
    ) { facts in
        withSettings(facts) { topics in
            let most = topics.first { $0.topic == .deadLetters }.flatMap { topic in
                topic.settings["max.message.bytes"].flatMap { Int64($0) }.map { (topic.name, $0) }
            }
            guard let (name, limit) = most else { return .skipped("the topic's setting was not seen") }
            let isSmall = limit < TopicRules.deadLetterBytes
            return .judged(
                isSmall ? [small.found("\(name): max.message.bytes=\(limit)", ["topic": name])] : [],
                else: "\(limit) bytes")
        }
    }

    // MARK: 19

    private static let assignor = Mistake(
        "assignor", .failure, sees: "the members of a group use another assignment strategy than `range`",
        means:
            "the members of <group> do not get the same partition of each topic: another program or another version has joined the group",
        mend:
            "stop the members that are not Beckon's, and take partition.assignment.strategy out of BECKON_KAFKA_PROPERTIES"
    )
    private static let unattended = Mistake(
        "no-members", .warning, sees: "a group without members",
        means: "no instance of the role of <group> reads its topics",
        mend: "start the role, or look why it is not ready: beckon ready --port PORT")

    private static let groupCheck = Check(
        "groups", "The consumer groups have members, with one assignment strategy", roles: Role.workers,
        looks: [.groups], mistakes: [assignor, unattended]
    ) { facts in
        switch facts.groups {
        case .not(let because): return .skipped(because)
        case .seen(let groups):
            var findings: [Finding] = []
            for group in groups where group.error == nil {
                if !group.assignor.isEmpty, group.assignor != "range" {
                    findings.append(
                        assignor.found(
                            "\(group.id): \(group.assignor); members: \(group.members.prefix(8).map(\.description).joined(separator: ", "))",
                            ["group": group.id]))
                } else if group.members.isEmpty {
                    findings.append(unattended.found("\(group.id): \(group.state)", ["group": group.id]))
                }
            }
            return .judged(findings, else: groups.map { "\($0.id): \($0.members.count)" }.joined(separator: ", "))
        }
    }
}
