import ChallengeModel
import Foundation
import KafkaClient
import ServiceSupport
import TestSupport
import Testing

@testable import Doctor

/// A cluster with an admin API is a ``ScriptedBroker``: it sends the answers of Kafka's protocol over a socket, and is
/// no Kafka. What the embedded broker can show is shown there.
@Suite("Mistakes of topics, rights and groups", .timeLimit(.minutes(5)))
struct TopicTests {
    /// Topics as compose.yaml makes them.
    private static func topics() -> [Topic: ScriptedBroker.Topic] {
        Dictionary(
            uniqueKeysWithValues: Topic.allCases.map { topic in
                let retention: [Topic: String] = [
                    .requests: "86400000", .events: "604800000", .deadLetters: "1209600000",
                ]
                var settings = [
                    "min.insync.replicas": "2", "unclean.leader.election.enable": "false", "retention.bytes": "-1",
                    "retention.ms": retention[topic] ?? "7200000", "cleanup.policy": "delete",
                    "message.timestamp.type": "CreateTime", "max.message.bytes": "1048588",
                ]
                if topic == .configuration { settings["cleanup.policy"] = "compact" }
                let isSmall = topic == .configuration || topic == .deadLetters
                return (
                    topic,
                    ScriptedBroker.Topic(
                        name: TopicNames()[topic], partitions: isSmall ? 1 : 12, settings: settings)
                )
            })
    }

    private static let groups = [
        ScriptedBroker.Group(id: "beckon.ack-tracker", members: ["beckon", "beckon"])
    ]
    private static let only: Set<String> = [
        "topics", "partitions", "replication", "unclean-election", "retention", "record-size", "groups",
    ]

    private func examine(
        _ groups: [ScriptedBroker.Group] = TopicTests.groups, only: Set<String> = TopicTests.only,
        roles: [Role] = [.ackTracker, .producer, .dispatcher],
        _ change: (inout [Topic: ScriptedBroker.Topic]) -> Void = { _ in }
    ) async throws -> [String: CheckResult] {
        var topics = Self.topics()
        change(&topics)
        let broker = try await ScriptedBroker(.init(topics: Array(topics.values), groups: groups))
        let examined = roles.map { role in
            var one = Ward.kafka(broker.address, role: role)
            if role != .ackTracker { one.groups = [] }
            return one
        }
        // The server does not answer fetches, which the look at rights waits for.
        let patience: Duration = only.contains("rights") ? .seconds(15) : .seconds(60)
        let results = await Ward.examine(examined, only: only, patience: patience)
        await broker.stop()
        return results
    }

    @Test("the topics of compose.yaml pass every check")
    func well() async throws {
        let results = try await examine()
        #expect(results.ill.isEmpty, "\(results.ill.map { results[$0]?.findings ?? [] })")
        for check in Self.only { #expect(results.isPassed(check), "\(check): \(String(describing: results[check]))") }
    }

    @Test("a topic that does not exist; the command that creates it has the partitions of the others")
    func missing() async throws {
        let results = try await examine { $0[.receipts] = nil }
        results.expect("topics", "missing", saw: "beckon.receipts", mend: "beckon topics create")
        #expect(results["topics"]?.findings.first?.mend.contains("--partitions 12") == true)
    }

    /// The embedded broker makes a topic that is asked for, so that none is missing there.
    @Test("different numbers of partitions on the embedded broker, which has no admin API")
    func embedded() async throws {
        let names = TopicNames(prefix: "doctor-\(UUID().uuidString).")
        var partitions = Dictionary(uniqueKeysWithValues: Topic.allCases.map { (names[$0], 3) })
        partitions[names[.outcomes]] = 4
        let broker = try EmbeddedBroker(topics: partitions)
        let results = await Ward.examine(
            [Ward.kafka(broker.bootstrapServers, isEmbedded: true, prefix: names.prefix)], only: Self.only)
        results.expect("partitions", "differ", saw: "\(names[.outcomes]): 4", mend: "never add partitions")
        #expect(results.ill == ["partitions"])
        for check in ["replication", "unclean-election", "retention", "record-size", "groups"] {
            #expect(results.reasonForSkipping(check) == "the embedded broker has no admin API", "\(check)")
        }
        await broker.close()
    }

    @Test("a partition without a leader")
    func leaderless() async throws {
        let names = TopicNames(prefix: "doctor-\(UUID().uuidString).")
        let broker = try EmbeddedBroker(
            topics: Dictionary(uniqueKeysWithValues: Topic.allCases.map { (names[$0], 2) }))
        try broker.inject(.leader(topic: names[.outcomes], partition: 1, broker: nil))
        let results = await Ward.examine(
            [Ward.kafka(broker.bootstrapServers, isEmbedded: true, prefix: names.prefix)], only: ["topics"])
        results.expect("topics", "no-leader", saw: "1 of 2", mend: "--unavailable-partitions")
        #expect(Report(Array(results.values)).status(isStrict: false) == 3)
        await broker.close()
    }

    /// The refusal of a fetch needs a cluster with an authorizer: its answer, as librdkafka names it, is judged alone.
    @Test("a topic that this user may not read: refused in the description, or in a fetch")
    func rights() async throws {
        let described = try await examine(only: ["rights"], roles: [.ackTracker]) { $0[.challenges]?.error = 29 }
        described.expect("rights", "topic-right", saw: "beckon.challenges", mend: "beckon topics acl")

        let none = try await examine(only: ["topics"], roles: [.ackTracker]) { topics in
            for topic in Topic.allCases { topics[topic]?.error = 29 }
        }
        #expect(none.reasonForSkipping("topics") == "the brokers show this user none of the topics")

        var facts = Facts(Examination([Ward.kafka("h:1")]), nowMs: 0)
        facts.topics = .seen(Topic.allCases.map { KafkaTopicFacts(name: TopicNames()[$0]) })
        facts.reads = .seen(["beckon.outcomes": "TOPIC_AUTHORIZATION_FAILED"])
        let check = try #require(Doctor.topicChecks.first { $0.id == "rights" })
        let judged = CheckResult(id: "rights", title: "", verdict: Doctor.verdict(check, facts), took: .zero)
        ["rights": judged].expect("rights", "topic-right", saw: "beckon.outcomes", mend: "beckon topics acl")
    }

    @Test("a fetch that is allowed ends with the end of the partition, and refuses nothing")
    func reads() async throws {
        let topics = ["t-\(UUID().uuidString)", "t-\(UUID().uuidString)"]
        let broker = try EmbeddedBroker(topics: [topics[0]: 1, topics[1]: 1])
        let inspection = KafkaInspection(
            configuration: KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true),
            logger: Ward.silent)
        #expect(try await inspection.refusedReads(of: topics, patience: .seconds(20)).isEmpty)
        await broker.close()
    }

    @Test("a group that this user may not join")
    func groupRight() async throws {
        let results = try await examine(
            [.init(id: "beckon.ack-tracker", error: 30)], only: ["rights", "groups"], roles: [.ackTracker])
        results.expect("rights", "group-right", saw: "beckon.ack-tracker", mend: "beckon topics acl")
    }

    @Test("four topics with different numbers of partitions")
    func partitions() async throws {
        let results = try await examine { $0[.receipts]?.partitions = 6 }
        results.expect("partitions", "differ", saw: "beckon.receipts: 6", mend: "never add partitions")
        #expect(results.ill == ["partitions"])
    }

    @Test("more members than partitions")
    func few() async throws {
        let members = Array(repeating: "beckon", count: 14)
        let results = try await examine([.init(id: "beckon.ack-tracker", members: members)])
        results.expect("partitions", "few", saw: "14 members, 12 partitions", mend: "at most 12 instances")
    }

    @Test(
        "replicas and in-sync replicas that lose records or stop at one lost broker",
        arguments: [
            (1, "1", "one-replica", "kafka-reassign-partitions.sh"),
            (2, "3", "min-insync-too-high", "min.insync.replicas=2"),
            (2, "2", "min-insync-equal", "3 replicas"), (3, "1", "min-insync-one", "min.insync.replicas=2"),
        ])
    func replication(replicas: Int, least: String, mistake: String, mend: String) async throws {
        let results = try await examine {
            $0[.challenges]?.replicas = replicas
            $0[.challenges]?.settings["min.insync.replicas"] = least
        }
        results.expect("replication", mistake, saw: "beckon.challenges: \(replicas) replicas", mend: mend)
        #expect(results.ill == ["replication"])
    }

    @Test("a broker without all records may become the leader")
    func unclean() async throws {
        let results = try await examine { $0[.outcomes]?.settings["unclean.leader.election.enable"] = "true" }
        results.expect(
            "unclean-election", "unclean-election", saw: "beckon.outcomes", mend: "unclean.leader.election.enable=false"
        )
        #expect(results.ill == ["unclean-election"])
    }

    @Test(
        "retention, compaction and time stamps that lose or change records",
        arguments: [
            (Topic.challenges, "retention.ms", "600000", "retention-short", "retention.ms=7200000"),
            (.events, "retention.bytes", "1000000", "retention-bytes", "retention.bytes=-1"),
            (.configuration, "cleanup.policy", "delete", "not-compacted", "cleanup.policy=compact"),
            (.receipts, "cleanup.policy", "compact", "compacted", "cleanup.policy=delete"),
            (
                .requests, "message.timestamp.type", "LogAppendTime", "log-append-time",
                "message.timestamp.type=CreateTime"
            ),
        ])
    func retention(topic: Topic, setting: String, value: String, mistake: String, mend: String) async throws {
        let results = try await examine { $0[topic]?.settings[setting] = value }
        results.expect("retention", mistake, saw: "\(TopicNames()[topic]): \(setting)=\(value)", mend: mend)
        #expect(results["retention"]?.findings.first?.mend.contains("--entity-name \(TopicNames()[topic])") == true)
        #expect(results.ill == ["retention"])
    }

    @Test("dead letters that do not fit into their topic")
    func size() async throws {
        let results = try await examine { $0[.deadLetters]?.settings["max.message.bytes"] = "100000" }
        results.expect("record-size", "dead-letters-too-small", saw: "100000", mend: "max.message.bytes=1000000")
        #expect(results.ill == ["record-size"])
    }

    @Test("a member with another assignment strategy, and a group that nobody is in")
    func groups() async throws {
        let foreign = try await examine([
            .init(id: "beckon.ack-tracker", assignor: "cooperative-sticky", members: ["sarama", "beckon"])
        ])
        foreign.expect("groups", "assignor", saw: "sarama at /10.0.0.1", mend: "partition.assignment.strategy")
        let empty = try await examine([.init(id: "beckon.ack-tracker", state: "Empty", assignor: "")])
        empty.expect("groups", "no-members", saw: "Empty", mend: "beckon ready")
        #expect(empty["groups"]?.findings.first?.severity == .warning)
    }
}
