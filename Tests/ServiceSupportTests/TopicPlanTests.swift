import ChallengeModel
import Foundation
import ServiceSupport
import Testing

@Suite("The plan of the topics")
struct TopicPlanTests {
    typealias Found = (partitions: Int, replicas: Int, settings: [String: String])
    let names = TopicNames()

    /// A cluster on which every topic is as its plan says.
    private func healthy(replicas: Int = 3) -> [Topic: Found] {
        Dictionary(
            uniqueKeysWithValues: TopicPlan.all.map { plan in
                var settings = plan.settings(replicas: replicas)
                settings["retention.bytes"] = "-1"
                settings["max.message.bytes"] = "1048588"
                return (plan.topic, (plan.partitions, replicas, settings))
            })
    }

    private func findings(_ found: [Topic: Found], replicas: Int = 3) -> [TopicFinding] {
        TopicPlan.findings(found, names: names, replicas: replicas, server: "kafka:9092")
    }

    @Test("a cluster that was made from the plan has nothing wrong", arguments: [1, 2, 3, 5])
    func nothing(replicas: Int) {
        #expect(findings(healthy(replicas: replicas), replicas: replicas) == [])
    }

    @Test(
        "each mistake is found, alone, with a command that mends it",
        arguments: [
            (Topic.challenges, "retention.ms", "60000", "7200000"), (.events, "retention.bytes", "1000", "-1"),
            (.configuration, "cleanup.policy", "delete", "compact"), (.outcomes, "cleanup.policy", "compact", "delete"),
            (.requests, "message.timestamp.type", "LogAppendTime", "CreateTime"),
            (.receipts, "unclean.leader.election.enable", "true", "false"),
            (.resolutions, "min.insync.replicas", "1", "2"), (.resolutions, "min.insync.replicas", "3", "2"),
            (.resolutions, "min.insync.replicas", "4", "2"), (.deadLetters, "max.message.bytes", "500000", "1048588"),
        ])
    func mistake(topic: Topic, setting: String, found: String, expected: String) throws {
        var cluster = healthy()
        cluster[topic]?.settings[setting] = found
        let findings = findings(cluster)
        #expect(findings.count == 1, "\(findings)")
        let finding = try #require(findings.first)
        #expect(finding.name == names[topic] && finding.setting == setting)
        #expect(finding.found == found && finding.expected == expected)
        #expect(
            finding.mend
                == "kafka-configs --bootstrap-server kafka:9092 --alter --entity-type topics --entity-name "
                + "\(names[topic]) --add-config \(setting)=\(expected)")
    }

    @Test("more retention than planned is right, and so is a timestamp of the broker where no life counts from it")
    func more() {
        var cluster = healthy()
        cluster[.challenges]?.settings["retention.ms"] = "86400000"
        cluster[.events]?.settings["retention.ms"] = "-1"
        cluster[.events]?.settings["message.timestamp.type"] = "LogAppendTime"
        #expect(findings(cluster) == [])
    }

    @Test("a missing topic, too few replicas, and numbers of partitions that differ are found")
    func layout() {
        var cluster = healthy()
        cluster[.events] = nil
        cluster[.receipts]?.partitions = 6
        cluster[.configuration]?.replicas = 1
        cluster[.configuration]?.settings["min.insync.replicas"] = "1"
        let findings = findings(cluster)
        #expect(
            Set(findings.map { "\($0.name) \($0.setting)" }) == [
                "beckon.events topic", "beckon.configuration replicas", "beckon.challenges partitions",
            ], "\(findings)")
        #expect(findings.first { $0.setting == "partitions" }?.found.contains("beckon.receipts 6") == true)
    }

    @Test("a topic keyed by challenge is created with the number of partitions of those that exist")
    func partitions() {
        let found: [Topic: Int] = [.challenges: 24, .outcomes: 24, .events: 7]
        #expect(TopicPlan[.receipts].partitions(asked: 12, beside: found) == 24)
        #expect(TopicPlan[.requests].partitions(asked: 12, beside: found) == 12)
        #expect(TopicPlan[.configuration].partitions(asked: 12, beside: found) == 1)
        #expect(TopicPlan[.receipts].partitions(asked: 12, beside: [.events: 7]) == 12)
        #expect(TopicPlan[.receipts].partitions(asked: 12, beside: [.challenges: 24, .outcomes: 6]) == 12)
    }

    @Test("the retentions are those of the table in docs/architecture.md")
    func documented() throws {
        let days = { (plan: TopicPlan) -> String in
            guard let retentionMs = plan.retentionMs else { return "compacted" }
            let hours = retentionMs / 3_600_000
            return hours < 24 ? "\(hours) hours" : hours == 24 ? "1 day" : "\(hours / 24) days"
        }
        let rows = try Self.table()
        for plan in TopicPlan.all {
            let row = try #require(rows[plan.topic], "\(plan.topic) has no row")
            #expect(row.retention == days(plan), "\(plan.topic)")
        }
    }

    @Test("each role may write and read what the table in docs/architecture.md says")
    func access() throws {
        let users: [String: TopicUser] = [
            "Producer": .producer, "DispatcherWorker": .dispatcher, "AckTracker": .ackTracker,
            "webhook relays": .webhooks, "backends": .backend, "operators": .operator,
        ]
        for (topic, row) in try Self.table() {
            for (name, user) in users {
                let isNamed = row.writers.contains(name) || row.writers == ["all"] && user != .backend
                // Beyond the table: moves of misplaced records, and replays.
                let isMove = user == .operator || Topic.copartitioned.contains(topic)
                if isNamed, user != .operator {
                    #expect(user.writes.contains(topic), "\(name) writes \(topic)")
                } else if !isMove {
                    #expect(!user.writes.contains(topic), "\(name) does not write \(topic)")
                }
                #expect(user.reads.contains(topic) == row.readers.contains(name), "\(name) reads \(topic)")
            }
        }
    }

    private static func table() throws -> [Topic: (writers: [String], readers: [String], retention: String)] {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/architecture.md")
        var rows: [Topic: (writers: [String], readers: [String], retention: String)] = [:]
        for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            let name = cells[0].split(separator: "`").first.map(String.init) ?? ""
            guard cells.count == 6, let topic = Topic(rawValue: name) else { continue }
            func list(_ cell: String) -> [String] {
                cell.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            }
            rows[topic] = (list(cells[3]), list(cells[4]), cells[5])
        }
        return rows
    }

    @Test("commands name the prefix, the groups and the principal")
    func commands() {
        let commands = TopicUser.webhooks.commands(
            principal: "User:relay", names: TopicNames(prefix: "x."), server: "k:1", beforeKafka28: true)
        #expect(
            commands == [
                "kafka-acls --bootstrap-server k:1 --add --allow-principal User:relay --operation Read --topic x.events",
                "kafka-acls --bootstrap-server k:1 --add --allow-principal User:relay --operation Write --topic x.dead-letters",
                "kafka-acls --bootstrap-server k:1 --add --allow-principal User:relay --operation Read --group x.webhooks",
                "kafka-acls --bootstrap-server k:1 --add --allow-principal User:relay --operation IdempotentWrite --cluster",
            ])
        let groups = TopicUser.producer.commands(principal: "User:p", names: TopicNames(), server: "k:1")
            .filter { $0.contains("--group") }
        // A right to create a topic does not show it.
        let operators = TopicUser.operator.commands(principal: "User:o", names: TopicNames(), server: "k:1")
        for topic in Topic.allCases {
            let isShown = operators.contains {
                $0.contains("--operation Describe --") && $0.contains("--topic \(TopicNames()[topic])")
            }
            #expect(isShown, "\(topic)")
        }
        #expect(groups.count == 1 && groups[0].hasSuffix("--group beckon.producer- --resource-pattern-type prefixed"))
    }
}
