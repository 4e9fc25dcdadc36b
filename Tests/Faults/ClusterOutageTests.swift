import ChallengeModel
import Foundation
import KafkaClient
import Logging
import TestSupport
import Testing

/// PostgreSQL, then Kafka, away for so many seconds under a steady load of creations that are asked for once each.
/// Prints which answers were given before, during and after, what `/readyz` said, the memory of the producers, and how
/// long it took until all was as before. Only `scripts/faults outage` runs it: it needs the machine for itself.
@Suite(
    "PostgreSQL or Kafka away for a minute", .serialized, .postgres, .timeLimit(.minutes(30)),
    .enabled(
        if: ProcessInfo.processInfo.environment["BECKON_FAULTS_OUTAGE_SECONDS"] != nil, "scripts/faults outage runs it")
)
struct ClusterOutageTests {
    enum Away: String, CaseIterable, CustomTestStringConvertible, Sendable {
        case postgreSQL = "PostgreSQL"
        case kafka = "Kafka"

        var testDescription: String { rawValue }
    }

    private static let variables = ProcessInfo.processInfo.environment
    static let seconds = variables["BECKON_FAULTS_OUTAGE_SECONDS"].flatMap { Int($0) } ?? 60
    static let rate = variables["BECKON_FAULTS_RATE"].flatMap { Int($0) } ?? 200
    /// Of load before the outage, and after it.
    private static let before = 10
    private static let after = 40
    private static let logger = Logger(label: "outage") { _ in SwiftLogNoOpLogHandler() }

    @Test(
        "every answer of the outage says what to do, nothing acknowledged is lost, and all goes on by itself",
        arguments: Away.allCases)
    func outage(_ away: Away) async throws {
        let server = try await PostgresServer(.full)
        let database = try await server.database()
        _ = try await BeckonProcess.output(
            of: ["migrate", "up"], environment: ["BECKON_STORE_URL": server.url(database)])
        try await BeckonCluster.with(storeURL: server.url(database)) { cluster in
            // Devices that confirm nothing: the load is the creations.
            let stage = try await ClusterStage(
                cluster, server: server, database: database,
                roles: ClusterStage.producers + ["dispatcher-0", "tracker-0"], behaviours: ["offline"])
            defer { stage.close() }
            let topics = [cluster.names[.challenges]]
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: Self.logger) { tail in
                let load = OutageLoad(stage)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { await load.watch() }
                    group.addTask {
                        try await load.run(seconds: Self.before + Self.seconds + Self.after, perSecond: Self.rate)
                    }
                    try await Task.sleep(for: .seconds(Self.before))
                    load.begin(.outage)
                    try await set(away, stage, isAway: true)
                    try await Task.sleep(for: .seconds(Self.seconds))
                    // From the order to start it.
                    load.begin(.recovery)
                    try await set(away, stage, isAway: false)
                    try await group.next()
                    let caughtUp = try await untilAllIsOnTheLog(load, tail, cluster.names)
                    group.cancelAll()
                    print(
                        "\(away.rawValue) away for \(Self.seconds) s at \(Self.rate) creations/s:\n\(load)\n",
                        "  every acknowledged challenge on the log \(caughtUp) after the return")
                    load.check(away)
                }
            }
        }
        try await server.stop()
    }

    private func set(_ away: Away, _ stage: ClusterStage, isAway: Bool) async throws {
        switch away {
        case .postgreSQL:
            if isAway { try await stage.server.stop(.fast) } else { try await stage.server.start() }
        case .kafka:
            try await stage.cluster.setBroker("/brokers/1/" + (isAway ? "down" : "up"))
        }
    }

    /// - Returns: how long after the return of what was away.
    private func untilAllIsOnTheLog(_ load: OutageLoad, _ tail: TopicTail, _ names: TopicNames) async throws -> Duration
    {
        let end = ContinuousClock.now + .seconds(300)
        while true {
            var created: [String: Int] = [:]
            var last: Int64 = 0
            for record in tail.records(of: names[.challenges]) {
                let value = try ChallengeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
                guard case .dispatch(let dispatch) = value.kind, dispatch.dispatchID == "c" else { continue }
                created[dispatch.challengeSid, default: 0] += 1
                if load.wasBegunInOutage(dispatch.challengeSid) { last = max(last, tail.appendedByMs(record)) }
            }
            let acknowledged = load.acknowledged
            if acknowledged.isSubset(of: created.keys) {
                let extra = Set(created.keys).subtracting(acknowledged).count
                #expect(extra <= load.unanswered, "made, and told to nobody")
                return load.sinceReturn(epochMs: last)
            }
            guard ContinuousClock.now < end else {
                let missing = acknowledged.subtracting(created.keys)
                Issue.record("acknowledged, never dispatched: \(missing.count), for example \(missing.prefix(3))")
                return .seconds(300)
            }
            try await Task.sleep(for: .milliseconds(500))
        }
    }
}
