import Foundation
public import KafkaClient
public import Testing

/// The brokers of a suite: a stand-in of its own, or with `BECKON_TEST_KAFKA=host:port,…` a real cluster, on which the
/// suite's topics are made before it and deleted after it. Names of topics and groups hold a UUID, so that suites share
/// a cluster.
public struct TestBroker: Sendable {
    /// `BECKON_TEST_KAFKA`; nil: the stand-in.
    public static let cluster = ProcessInfo.processInfo.environment["BECKON_TEST_KAFKA"].flatMap {
        $0.isEmpty ? nil : $0
    }

    /// How to reach it.
    public let kafka: KafkaConfiguration
    private let standIn: EmbeddedBroker?
    private let topics: KafkaTopics
    private let made: [String]

    public var bootstrapServers: String { kafka.bootstrapServers }

    /// - Parameters:
    ///   - topics: numbers of partitions by name.
    ///   - settings: by the topic's name, beside the size of a record; the stand-in has none.
    public init(
        topics: [String: Int], settings: (_ topic: String) -> [String: String] = { _ in [:] }
    ) async throws {
        if let cluster = Self.cluster {
            standIn = nil
            kafka = KafkaConfiguration(bootstrapServers: cluster)
        } else {
            let broker = try EmbeddedBroker(topics: topics)
            standIn = broker
            kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        }
        self.topics = KafkaTopics(configuration: kafka)
        made = topics.keys.sorted()
        if standIn == nil, !topics.isEmpty {
            // Some tests write records of 2 MB, as a producer with other settings than ours does.
            let failures = try await self.topics.create(
                topics.map { name, partitions in
                    KafkaTopics.Specification(
                        name: name, partitions: partitions,
                        settings: settings(name).merging(["max.message.bytes": "4194304"]) { $1 })
                })
            if let failure = failures.sorted(by: { $0.key < $1.key }).first?.value { throw failure }
            // Each broker learns of them in its own time, and a client may ask any.
            for server in kafka.bootstrapServers.split(separator: ",") {
                let one = KafkaTopics(configuration: KafkaConfiguration(bootstrapServers: String(server)))
                let end = ContinuousClock.now + .seconds(60)
                while try await one.describe(made).count < made.count {
                    guard ContinuousClock.now < end else {
                        throw BeckonProcess.Failure(description: "\(server) does not know the topics")
                    }
                    try await Task.sleep(for: .milliseconds(50))
                }
            }
        }
    }

    /// A fault switch of the stand-in. A test that uses one has the trait ``Testing/Trait/standIn(_:)``.
    public func inject(_ fault: EmbeddedBroker.Fault) throws {
        guard let standIn else { throw BeckonProcess.Failure(description: "a real cluster has no fault switches") }
        try standIn.inject(fault)
    }

    /// Ends the stand-in, or deletes the topics.
    public func close() async {
        if let standIn { await standIn.close() } else if !made.isEmpty { try? await topics.delete(made) }
    }

    /// A prefix for the topics of one test.
    public static func prefix() -> String { "t-\(UUID().uuidString.prefix(13).lowercased())." }
}

extension Trait where Self == ConditionTrait {
    /// A test of what only the stand-in can do: skipped, with the reason, where `BECKON_TEST_KAFKA` names a real
    /// cluster.
    /// - Parameter why: what a real cluster does not offer.
    public static func standIn(_ why: String = "its fault switches") -> Self {
        .enabled(if: TestBroker.cluster == nil, "needs the stand-in broker: \(why); BECKON_TEST_KAFKA is set")
    }
}
