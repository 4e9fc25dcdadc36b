import ArgumentParser
import ChallengeModel
import KafkaClient
import ServiceLifecycle
import ServiceSupport

struct BrokerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "broker", abstract: "Runs librdkafka's mock broker on loopback, with fault switches over HTTP.",
        discussion:
            "It runs in memory on a random port, for development and tests. The ready file has its address as \"kafka\"."
    )

    @Argument(parsing: .captureForPassthrough, help: "See beckon broker --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.broker, arguments: settings)
        let names = TopicNames(prefix: try context.settings(Settings.topicPrefix))
        let broker = try EmbeddedBroker(
            topics: names.standIn(partitions: try context.settings(Settings.brokerPartitions)), logger: context.logger)
        let control = BrokerControl(broker: broker, logger: context.logger)
        try await context.run([BrokerService(broker: broker), control]) {
            ["kafka": broker.bootstrapServers, "control": "http://127.0.0.1:\(try await control.boundPort())"]
        }
    }
}

/// Keeps the stand-in until the process stops.
struct BrokerService: Service {
    let broker: EmbeddedBroker

    func run() async throws {
        try? await gracefulShutdown()
        await broker.close()
    }
}

extension TopicNames {
    /// Topics as the stand-in makes them. Dead letters and configuration need no parallelism.
    func standIn(partitions: Int) -> [String: Int] {
        Dictionary(
            uniqueKeysWithValues: Topic.allCases.map {
                (self[$0], $0 == .configuration || $0 == .deadLetters ? 1 : partitions)
            })
    }
}
