import ChallengeModel
import Challenges
import KafkaClient
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Outbox relay while a part of Kafka is away", .standIn(), .timeLimit(.minutes(5)))
struct PartialOutageTests {
    /// More than the relay holds at once.
    private static let waiting = 6000
    private static let keys = 300
    /// What is away fails after it. Long enough for a busy machine to have what is well acknowledged before.
    private static let messageTimeout = Duration.seconds(12)
    private static let properties = ["message.timeout.ms": "12000"]

    /// Keys, of those that belong to partition 2 of the world's four or of the others.
    private static func subjects(_ count: Int, ofPartition2: Bool) -> [String] {
        Array(
            (0...).lazy.map { "s\($0)" }.filter {
                (Murmur2.partition(key: Array($0.utf8), partitions: 4) == 2) == ofPartition2
            }.prefix(count))
    }

    /// Writes `waiting` events; the numbers of a subject ascend.
    private static func fill(_ world: OutboxWorld, _ subjects: [String]) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for subject in subjects {
                group.addTask {
                    for index in 0..<waiting / subjects.count { try await world.event(subject, index) }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Writes one row after the other for what is well, until so many of the others have failed.
    /// - Returns: how many were acknowledged, each in less time than the others wait before they fail.
    private static func goOn(
        _ world: OutboxWorld, untilFailures failures: Int, writing: (Int) async throws -> Void,
        acknowledged: () -> Int
    ) async throws -> Int {
        var count = 0
        var longest = Duration.zero
        while world.metrics.count(OutboxMetric.failures.rawValue) < failures || count < 20 {
            let start = ContinuousClock.now
            try await writing(count)
            count += 1
            try await eventually("the row that nothing stands in the way of", within: messageTimeout * 2 / 3) {
                acknowledged() == count
            }
            longest = max(longest, ContinuousClock.now - start)
        }
        print("\(count) acknowledged beside \(failures) failures, the longest after \(longest)")
        return count
    }

    /// Everything that was filled in is in the log: in order, and once.
    private static func expectAll(_ subjects: [String], _ tail: TopicTail, _ topic: String) throws {
        var numbers: [String: [Int]] = [:]
        for event in try tail.records(of: topic).map({ try CloudEvent(json: $0.value) }) {
            if let number = Int(event.id) { numbers[event.subject, default: []].append(number) }
        }
        for subject in subjects { #expect(numbers[subject] == Array(0..<waiting / keys), "\(subject)") }
    }

    @Test("a partition without a leader holds up no other, and its rows arrive once it has one, in order, once each")
    func leaderless() async throws {
        try await OutboxWorld.with(properties: Self.properties) { world in
            let topic = world.names[.events]
            let away = Self.subjects(Self.keys, ofPartition2: true)
            let well = Self.subjects(5000, ofPartition2: false)
            try await Self.fill(world, away)
            try world.broker.inject(.leader(topic: topic, partition: 2, broker: nil))
            try await TopicTail.following([topic], kafka: world.kafka, logger: world.logger) { tail in
                try await world.relaying({ $0.messageTimeout = Self.messageTimeout }) {
                    let count = try await Self.goOn(world, untilFailures: 300) {
                        try await world.event(well[$0], 0)
                    } acknowledged: {
                        Int(world.metrics.count(OutboxMetric.relayed.rawValue))
                    }
                    try world.broker.inject(.leader(topic: topic, partition: 2, broker: 1))
                    try await eventually("no rows") { try await world.rows() == 0 }
                    try await eventually("all of them") { tail.count(of: topic) >= Self.waiting + count }
                    #expect(tail.count(of: topic) == Self.waiting + count)
                }
                try Self.expectAll(away, tail, topic)
            }
        }
    }

    @Test("a topic without leaders holds up no other, and its rows arrive once it has them, in order, once each")
    func leaderlessTopic() async throws {
        try await OutboxWorld.with(properties: Self.properties) { world in
            let (events, challenges) = (world.names[.events], world.names[.challenges])
            let subjects = (0..<Self.keys).map { "s\($0)" }
            try await Self.fill(world, subjects)
            for partition in 0..<4 as Range<Int32> {
                try world.broker.inject(.leader(topic: events, partition: partition, broker: nil))
            }
            let topics = [events, challenges]
            try await TopicTail.following(topics, kafka: world.kafka, logger: world.logger) { tail in
                try await world.relaying({ $0.messageTimeout = Self.messageTimeout }) {
                    let count = try await Self.goOn(world, untilFailures: 300) { _ in
                        try await world.challenge()
                    } acknowledged: {
                        tail.count(of: challenges)
                    }
                    for partition in 0..<4 as Range<Int32> {
                        try world.broker.inject(.leader(topic: events, partition: partition, broker: 1))
                    }
                    try await eventually("no rows") { try await world.rows() == 0 }
                    // Each challenge has an event too.
                    try await eventually("all of them") { tail.count(of: events) >= Self.waiting + count }
                    #expect(tail.count(of: events) == Self.waiting + count)
                }
                try Self.expectAll(subjects, tail, events)
            }
        }
    }

    @Test(
        "a partition that is away makes no Producer unready while the others are written; a Kafka that takes nothing does"
    )
    func readiness() async throws {
        try await OutboxWorld.with(properties: Self.properties) { world in
            let topic = world.names[.challenges]
            try world.broker.inject(.leader(topic: topic, partition: 2, broker: nil))
            let limit = Duration.seconds(6)
            let change: @Sendable (inout OutboxRelay.Options) -> Void = {
                $0.messageTimeout = Self.messageTimeout
                $0.limits.oldestDispatch = limit
            }
            try await world.relaying(change) {
                let end = ContinuousClock.now + limit * 2
                while ContinuousClock.now < end {
                    _ = try await world.challenge()
                    #expect(world.readiness.reasons[OutboxRelay.readinessCheck] == nil)
                    try await Task.sleep(for: .milliseconds(50))
                }
                let oldest = try await world.store.outbox.outboxState().oldestDispatchMs
                #expect(Timestamp.nowMs() - (try #require(oldest)) > 6000, "no dispatch of partition 2 waits")
                try world.broker.inject(.brokerDown(1))
                try await eventually("it is unready") {
                    world.readiness.reasons[OutboxRelay.readinessCheck]?.contains("oldest dispatch") == true
                }
                try world.broker.inject(.brokerUp(1))
            }
        }
    }
}
