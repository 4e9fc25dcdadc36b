import ArgumentParser
import ChallengeModel
import Foundation
import KafkaClient
import ServiceSupport
import Wire

/// `beckon topics`: the topics of a cluster.
struct TopicsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topics",
        abstract: "Creates and checks the topics of a Kafka cluster, and prints the rights of each role.",
        discussion: """
            docs/architecture.md shows the table of topics. Needs the producer's settings for Kafka. The embedded broker has no
            admin API and creates its topics itself: with kafka.embedded the commands say so and do nothing.
            """,
        subcommands: [Create.self, Check.self, ACL.self])

    static let help: ArgumentHelp = "The producer's settings: --kafka-bootstrap-servers S, --config F."

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create",
            abstract: "Creates the topics that do not exist yet, and compares the others with their plan.",
            discussion: """
                Topics that exist are never changed. Exit status: 0 all topics exist as they should; 1 a topic could not be
                created, or differs; 3 Kafka does not answer, or does not let this user see a topic.
                """)

        @OptionGroup var cluster: TopicOptions
        @Option(
            help: """
                Partitions of each topic except configuration and dead-letters, 1 to 10000. A topic keyed by challenge gets \
                the number of those that exist.
                """)
        var partitions = TopicPlan[.challenges].partitions
        @Flag(help: "Print the topics that would be created, and create none.") var dryRun = false
        @Flag(help: "Print one JSON object per topic and line, then one per finding.") var json = false
        @Argument(parsing: .allUnrecognized, help: TopicsCommand.help) var settings: [String] = []

        func validate() throws {
            guard (1...10_000).contains(partitions) else { throw ValidationError("--partitions: expected 1 to 10000") }
        }

        func run() async throws {
            let scene = try await TopicScene(settings)
            if scene.kafka.isEmbedded { return TopicsCommand.skipped(json: json) }
            let found = try await scene.describe(cluster.timeout)
            var missing = TopicPlan.all.filter { found[$0.topic] == nil }.map { plan in
                KafkaTopics.Specification(
                    name: scene.names[plan.topic],
                    partitions: plan.partitions(asked: partitions, beside: found.mapValues(\.partitions)),
                    replicas: cluster.replication,
                    settings: plan.settings(replicas: cluster.replication))
            }
            var failures: [String: KafkaError] = [:]
            if !dryRun {
                failures = try await scene.topics.create(missing, deadline: .seconds(cluster.timeout))
                // Another run may have created it in the meantime.
                let existing = Set(failures.filter { $0.value.code == "TOPIC_ALREADY_EXISTS" }.keys)
                missing.removeAll { existing.contains($0.name) }
                failures = failures.filter { !existing.contains($0.key) }
            }
            for topic in missing { print(topic, failures[topic.name]) }
            guard !dryRun else { return }
            let now = try await scene.describe(cluster.timeout)
            // Why a topic could not be created is told above.
            let findings = scene.findings(now, replicas: cluster.replication).filter {
                $0.setting != "topic" || failures[$0.name] == nil
            }
            TopicsCommand.print(findings, json: json)
            if !json, findings.isEmpty, failures.isEmpty {
                Terminal.line("\(missing.count) topics created; all \(now.count) are as they should be.")
            }
            guard failures.isEmpty, findings.isEmpty else { throw ExitStatus.partly }
        }

        private func print(_ topic: KafkaTopics.Specification, _ failure: KafkaError?) {
            let word = failure == nil ? (dryRun ? "planned" : "created") : "failed"
            let settings = topic.settings.sorted { $0.key < $1.key }
            if json {
                Terminal.line(
                    JSONValue.object([
                        ("topic", .string(topic.name)), ("result", .string(word)),
                        ("error", .optional(failure?.description)),
                        ("partitions", .integer(Int64(topic.partitions))),
                        ("replication", .integer(Int64(topic.replicas ?? -1))),
                        ("settings", .object(settings.map { (name: $0.key, value: .string($0.value)) })),
                    ]).text)
            } else {
                let told = settings.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
                Terminal.line(
                    "\(word) \(topic.name): \(topic.partitions) partitions, \(topic.replicas ?? -1) replicas, \(told)"
                        + (failure.map { ": \($0)" } ?? ""))
            }
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract:
                "Compares the topics of a cluster with their plan: what is wrong, what it does, and how to mend it.",
            discussion: """
                Changes nothing. Exit status: 0 nothing is wrong; 1 something is; 3 Kafka does not answer, or does not let
                this user see a topic.
                """)

        @OptionGroup var cluster: TopicOptions
        @Flag(help: "Print one JSON object per finding and line.") var json = false
        @Argument(parsing: .allUnrecognized, help: TopicsCommand.help) var settings: [String] = []

        func run() async throws {
            let scene = try await TopicScene(settings)
            if scene.kafka.isEmbedded { return TopicsCommand.skipped(json: json) }
            let found = try await scene.describe(cluster.timeout)
            let findings = scene.findings(found, replicas: cluster.replication)
            TopicsCommand.print(findings, json: json)
            if !json, findings.isEmpty { Terminal.line("All \(found.count) topics are as they should be.") }
            guard findings.isEmpty else { throw ExitStatus.partly }
        }
    }

    struct ACL: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "acl",
            abstract: "Prints kafka-acls commands that grant each role the least rights that it needs.",
            discussion: """
                Prints only; an administrator of the cluster runs the commands. The users are the roles producer, dispatcher,
                ack-tracker and webhooks, and: backend, which writes to the entrances and reads events; operator, which lists and
                replays dead letters and uses `beckon topics`.
                """)

        @Option(help: "User whose rights are printed; repeat the option. None: all users.") var user: [TopicUser] = []
        @Option(help: "Principal of each user; NAME stands for the user.") var principal = "User:beckon-NAME"
        @Flag(name: .customLong("before-kafka-2.8"), help: "Add the right to idempotent writes, for old brokers.")
        var isOld = false
        @Flag(help: "Print one JSON object per command and line.") var json = false
        @Argument(parsing: .allUnrecognized, help: TopicsCommand.help) var settings: [String] = []

        func run() async throws {
            let scene = try await TopicScene(settings)
            for user in user.isEmpty ? TopicUser.allCases : user {
                let principal = principal.replacing("NAME", with: user.rawValue)
                let commands = user.commands(
                    principal: Shell.quoted(principal), names: scene.names, server: scene.server, beforeKafka28: isOld)
                if !json { Terminal.line("# \(user.rawValue)") }
                for command in commands {
                    Terminal.line(
                        json
                            ? JSONLine([("user", user.rawValue), ("command", command)]).description : command)
                }
            }
        }
    }

    private static func skipped(json: Bool) {
        let reason = "the embedded broker has no admin API, and creates its topics at its start"
        Terminal.line(
            json ? JSONLine([("result", "skipped"), ("reason", reason)]).description : "Skipped: \(reason).")
    }

    private static func print(_ findings: [TopicFinding], json: Bool) {
        for finding in findings {
            if json {
                Terminal.line(
                    JSONLine([
                        ("topic", finding.name), ("setting", finding.setting), ("found", finding.found),
                        ("expected", finding.expected), ("meaning", finding.meaning), ("mend", finding.mend),
                    ]).description)
            } else {
                Terminal.line(
                    "\(finding.name): \(finding.setting) is \(finding.found), expected \(finding.expected)")
                Terminal.line("    means: \(finding.meaning)")
                Terminal.line("    do:    \(finding.mend)")
            }
        }
    }
}

/// Options about the cluster.
struct TopicOptions: ParsableArguments {
    @Option(help: "Replicas that each topic has at least, 1 to 9; fewer than 3 lose records when brokers fail.")
    var replication = 3
    @Option(help: "Time limit of each request in seconds, 1 to 600.") var timeout = 30

    func validate() throws {
        guard (1...9).contains(replication) else { throw ValidationError("--replication: expected 1 to 9") }
        guard (1...600).contains(timeout) else { throw ValidationError("--timeout: expected 1 to 600 seconds") }
    }
}

/// The cluster that the settings name.
private struct TopicScene {
    typealias Found = [Topic: (partitions: Int, replicas: Int, settings: [String: String])]

    let names: TopicNames
    let kafka: KafkaConfiguration
    let topics: KafkaTopics
    /// The first broker, for printed commands.
    let server: String

    init(_ arguments: [String]) async throws {
        let settings = try await Settings(role: .producer, arguments: arguments)
        kafka = try settings.kafka()
        names = TopicNames(prefix: try settings(Settings.topicPrefix))
        topics = KafkaTopics(configuration: kafka)
        server = kafka.bootstrapServers.split(separator: ",").first.map(String.init) ?? kafka.bootstrapServers
    }

    func describe(_ timeout: Int) async throws -> Found {
        let found: [String: KafkaTopics.Description]
        do {
            found = try await topics.describe(Topic.allCases.map { names[$0] }, deadline: .seconds(timeout))
        } catch {
            throw Self.failure(error)
        }
        var byTopic: Found = [:]
        for (name, topic) in found {
            guard let known = names.topic(named: name) else { continue }
            byTopic[known] = (topic.partitions, topic.replicas, topic.settings)
        }
        return byTopic
    }

    /// A refusal names the command that prints the rights.
    private static func failure(_ error: KafkaError) -> any Error {
        guard error.code.hasSuffix("AUTHORIZATION_FAILED") else { return error }
        return CommandFailure(
            "\(error); beckon topics acl --user operator prints the rights that this command needs",
            status: ExitStatus.unreachable)
    }

    func findings(_ found: Found, replicas: Int) -> [TopicFinding] {
        TopicPlan.findings(found, names: names, replicas: replicas, server: server)
    }
}
