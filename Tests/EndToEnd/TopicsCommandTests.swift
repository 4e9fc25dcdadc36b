import ChallengeModel
import Foundation
import KafkaClient
import TestSupport
import Testing

@Suite("beckon topics on a cluster", .timeLimit(.minutes(5)))
struct TopicsCommandTests {
    @Test(
        "topics are created as planned on a cluster, and its mistakes are found",
        .enabled(if: TestBroker.cluster != nil, "only a real cluster has an admin API: set BECKON_TEST_KAFKA"))
    func clusterTopics() async throws {
        let cluster = try #require(TestBroker.cluster)
        let names = TopicNames(prefix: TestBroker.prefix())
        let environment = ["BECKON_KAFKA_BOOTSTRAP_SERVERS": cluster, "BECKON_TOPICS_PREFIX": names.prefix]
        func run(_ command: String, _ more: String...) async throws -> (status: Int32, output: String, errors: String) {
            try await BeckonProcess.result(
                of: ["topics", command, "--replication", "1"] + more, environment: environment)
        }
        let topics = KafkaTopics(configuration: KafkaConfiguration(bootstrapServers: cluster))

        let missing = try await run("check")
        #expect(missing.status == 1 && missing.output.split(separator: "topic is none").count == 10, "\(missing)")
        let made = try await run("create", "--partitions", "3")
        #expect(made.status == 0 && made.output.contains("9 topics created"), "\(made)")
        let again = try await run("create", "--partitions", "3")
        #expect(again.status == 0 && again.output.contains("0 topics created"), "\(again)")
        #expect(try await run("check").status == 0)

        // A lost topic comes back with the number of those that it belongs to, whatever is asked for.
        try await topics.delete([names[.receipts]])
        try await eventually {
            try await run("check").output.contains("\(names[.receipts]): topic")
        }
        let mended = try await run("create")
        #expect(mended.status == 0 && mended.output.contains("\(names[.receipts]): 3 partitions"), "\(mended)")

        // Topics that were made by hand.
        try await topics.delete([names[.events], names[.configuration], names[.outcomes]])
        try await eventually {
            try await run("check").output.split(separator: "topic is none").count == 4
        }
        try await topics.create(
            [names[.events]: 3],
            settings: ["cleanup.policy": "compact", "retention.ms": "60000", "min.insync.replicas": "9"])
        try await topics.create([names[.configuration]: 1])
        try await topics.create([names[.outcomes]: 4])
        let wrong = try await run("check")
        #expect(wrong.status == 1)
        for finding in [
            "\(names[.events]): cleanup.policy is compact", "\(names[.events]): min.insync.replicas is 9",
            "\(names[.configuration]): cleanup.policy is delete", "\(names[.challenges]): partitions is",
        ] {
            #expect(wrong.output.contains(finding), "\(finding) in \(wrong.output)")
        }

        // The broker's own words tell why it refuses.
        let large = try await BeckonProcess.result(
            of: ["topics", "create", "--replication", "9"],
            environment: environment.merging(["BECKON_TOPICS_PREFIX": names.prefix + "large."]) { $1 })
        #expect(large.status == 1 && large.output.contains("INVALID_REPLICATION_FACTOR"), "\(large)")
        #expect(large.output.contains("registered") && !large.output.contains("topic is none"), "\(large)")
        try await topics.delete(Topic.allCases.map { names[$0] })
    }

    private func eventually(_ condition: () async throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(60)
        while try await !condition() {
            guard ContinuousClock.now < end else { throw BeckonProcess.Failure(description: "the topics are not gone") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
