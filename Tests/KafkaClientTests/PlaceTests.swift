import Logging
import TestSupport
import Testing

@testable import KafkaClient

/// A process that is killed stays in its groups until its session has ended. A process that is started in its place
/// meanwhile must not join: the coordinator would stop the whole group until then.
///
/// The members of a group are a script, because the embedded broker cannot be asked for them. `scripts/webhook-campaign`
/// kills real members of a real cluster.
@Suite("A member that is started again", .timeLimit(.minutes(5)))
struct PlaceTests {
    private static let logger = Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }
    private static let dead = "beckon-here-1"
    private static let living = "beckon-there-1"
    /// GROUP_AUTHORIZATION_FAILED: no broker lists the group.
    private static let forbidden: Int16 = 30
    /// COORDINATOR_LOAD_IN_PROGRESS
    private static let loading: Int16 = 14

    private static func broker(_ members: [String], error: Int16 = 0) async throws -> ScriptedBroker {
        try await ScriptedBroker(
            .init(topics: [.init(name: "t", replicas: 1)], groups: [.init(id: "g", error: error, members: members)]))
    }

    /// - Parameter patienceMs: the session, and the wait for an answer: long enough for no test to reach their end.
    private static func join(
        _ broker: ScriptedBroker, place: String? = "here-1", clientID: String? = nil, patienceMs: Int = 300_000
    ) throws -> KafkaConsumer {
        var properties = ["log_level": "0", "session.timeout.ms": "\(patienceMs)"]
        properties["client.id"] = clientID
        var kafka = KafkaConfiguration(bootstrapServers: broker.address, properties: properties)
        kafka.place = place
        kafka.mostUnanswered = .milliseconds(patienceMs)
        return try KafkaConsumer(configuration: kafka, groupID: "g", topics: ["t"], logger: logger)
    }

    private static func wait(_ condition: () -> Bool) async throws {
        while !condition() { try await Task.sleep(for: .milliseconds(20)) }
    }

    @Test("it joins when the member that died in its place has left")
    func left() async throws {
        let broker = try await Self.broker([Self.living, Self.dead])
        let consumer = try Self.join(broker)
        try await Self.wait { broker.clients(of: .listGroups).count >= 3 }
        #expect(broker.clients(of: .joinGroup).isEmpty)
        broker.change { $0.groups[0].members = [Self.living] }
        try await Self.wait { !broker.clients(of: .joinGroup).isEmpty }
        #expect(broker.clients(of: .joinGroup).first == Self.dead, "the next process in its place looks for it")
        await consumer.close(deadline: .zero)
        await broker.stop()
    }

    @Test("it joins beside a member that has its client id and does not leave, when a session has passed")
    func stays() async throws {
        let broker = try await Self.broker([Self.living, Self.dead])
        let consumer = try Self.join(broker, patienceMs: 1000)
        try await Self.wait { !broker.clients(of: .joinGroup).isEmpty }
        #expect(!broker.clients(of: .listGroups).isEmpty)
        await consumer.close(deadline: .zero)
        await broker.stop()
    }

    @Test("while the coordinator does not know its groups yet, it asks again")
    func loads() async throws {
        let broker = try await Self.broker([], error: Self.loading)
        let consumer = try Self.join(broker)
        try await Self.wait { broker.clients(of: .listGroups).count >= 3 }
        #expect(broker.clients(of: .joinGroup).isEmpty)
        broker.change { $0.groups[0].error = 0 }
        try await Self.wait { !broker.clients(of: .joinGroup).isEmpty }
        await consumer.close(deadline: .zero)
        await broker.stop()
    }

    @Test("it joins without an answer when it has waited for one")
    func unanswered() async throws {
        let broker = try await Self.broker([], error: Self.loading)
        let consumer = try Self.join(broker, patienceMs: 1000)
        try await Self.wait { !broker.clients(of: .joinGroup).isEmpty }
        await consumer.close(deadline: .zero)
        await broker.stop()
    }

    @Test(
        "it joins at once where nothing tells it from others, where it would disturb nobody, and where it may not ask",
        arguments: [
            (String?.none, String?.none, [living, dead], Int16(0)),
            ("here-1", dead, [living, dead], 0),
            ("here-1", nil, [dead], 0),
            ("here-1", nil, [], 0),
            ("here-1", nil, [], forbidden),
        ])
    func atOnce(place: String?, clientID: String?, members: [String], error: Int16) async throws {
        let broker = try await Self.broker(members, error: error)
        let consumer = try Self.join(broker, place: place, clientID: clientID)
        try await Self.wait { !broker.clients(of: .joinGroup).isEmpty }
        #expect(broker.clients(of: .listGroups).isEmpty == (place == nil || clientID != nil))
        await consumer.close(deadline: .zero)
        await broker.stop()
    }

    @Test("it is closed while it waits")
    func closed() async throws {
        let broker = try await Self.broker([Self.living, Self.dead])
        let consumer = try Self.join(broker)
        try await Self.wait { !broker.clients(of: .listGroups).isEmpty }
        await consumer.close(deadline: .seconds(200))
        let asked = broker.clients(of: .listGroups).count
        #expect(asked < 100, "it went on asking")
        #expect(broker.clients(of: .joinGroup).isEmpty)
        await broker.stop()
    }
}
