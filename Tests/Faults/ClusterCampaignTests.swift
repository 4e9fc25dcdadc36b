import ChallengeModel
import Foundation
import Logging
import Simulators
import TestSupport
import Testing

/// Three producers, dispatchers and trackers as processes on PostgreSQL, under load, while a seeded schedule kills,
/// freezes, restarts, promotes and cuts. What clients were told, and what stands on the topics, is then compared with
/// what `docs/guarantees.md` promises. A minute of it is a test as any other; `scripts/faults` runs it for longer.
@Suite("Three of each role on PostgreSQL, under faults", .serialized, .postgres, .timeLimit(.minutes(60)))
struct ClusterCampaignTests {
    private static let variables = ProcessInfo.processInfo.environment
    static let seconds = variables["BECKON_FAULTS_SECONDS"].flatMap { Int($0) } ?? 60
    static let seed = variables["BECKON_FAULTS_SEED"].flatMap { UInt64($0) } ?? 7
    /// Creations a second. Few, where other tests share the machine.
    static let rate = variables["BECKON_FAULTS_RATE"].flatMap { Int($0) } ?? 8
    static let logger = Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() }
    /// A standby looks for its primary again soon, and finds what it has missed.
    static let servers = ["wal_retrieve_retry_interval=200ms", "wal_keep_size=512MB"]

    @Test("nothing acknowledged is lost, made twice, or changed; nothing is pushed too late")
    func campaign() async throws {
        let server = try await PostgresServer(.full, settings: Self.servers)
        let database = try await server.database()
        // As docs/operations.md asks for.
        for limit in ["statement_timeout = '5s'", "lock_timeout = '2s'", "idle_in_transaction_session_timeout = '10s'"]
        {
            try await server.sql("ALTER DATABASE \(database) SET \(limit)")
        }
        _ = try await BeckonProcess.output(
            of: ["migrate", "up"], environment: ["BECKON_STORE_URL": server.url(database)])
        let standby = try await PostgresServer(standbyOf: server)
        try await server.awaitStandby()
        try await BeckonCluster.with(storeURL: server.url(database)) { cluster in
            let stage = try await ClusterStage(
                cluster, server: server, standby: standby, database: database, dispatcherLogLevel: "debug")
            defer { stage.close() }
            let topics = Topic.copartitioned.map { cluster.names[$0] } + [cluster.names[.events]]
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: Self.logger) { tail in
                try await campaign(stage, tail)
            }
        }
    }

    private func campaign(_ stage: ClusterStage, _ tail: TopicTail) async throws {
        let (load, providers) = (ClusterLoad(stage), ProviderLog(stage.cluster))
        var schedule = FaultSchedule(seed: Self.seed, stage: stage, load: load)
        let failure: (any Error)? = await withTaskGroup(of: Void.self) { group in
            // The only one of them that ends by itself.
            group.addTask { await load.run(seconds: Self.seconds, perSecond: Self.rate) }
            group.addTask { await load.watch() }
            group.addTask { await providers.follow() }
            group.addTask { await tell(tail, stage, load, providers) }
            defer { group.cancelAll() }
            do {
                try await schedule.run(seconds: Self.seconds)
                await group.next()
                try await settle(tail, stage, load)
                return nil
            } catch {
                return error
            }
        }
        // Also of a run that was broken off: what happened until then.
        if failure == nil { try await providers.readOn() }
        let ledger = try await ClusterLedger(
            load, tail, stage, pushes: providers.pushes, schedule.disturbances,
            within: failure == nil ? .seconds(600) : .seconds(60))
        print("faults for \(Self.seconds) s, seed \(Self.seed): \(ledger)")
        print("  served again after a fault: \(schedule.recovery)")
        for duplicate in ledger.audit.duplicates { print("  \(schedule.story(of: duplicate))") }
        for story in ledger.repeats.stories + ledger.repeats.unexplained { print("  \(story)") }
        for line in schedule.log { print("  \(line)") }
        print("  tries of the longest creation: \(load.longest.tries.suffix(20).joined(separator: "; "))")
        fflush(nil)
        #expect(schedule.endedByThemselves == [])
        if let failure {
            Issue.record(failure, "broken off")
            ledger.checkSoFar()
        } else {
            ledger.check()
        }
    }

    /// A line of counts each ten seconds, until cancelled.
    private func tell(_ tail: TopicTail, _ stage: ClusterStage, _ load: ClusterLoad, _ providers: ProviderLog) async {
        let start = ContinuousClock.now
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(10))
            let counts = Topic.copartitioned.map { "\($0) \(tail.count(of: stage.cluster.names[$0]))" }
            let pushes = providers.pushes
            Progress.say(
                """
                \((ContinuousClock.now - start).components.seconds) s: acknowledged \(load.acknowledged.count) in \
                \(load.tries) tries, given up \(load.givenUp.count), refused \(load.refused.count); records: \
                \(counts.joined(separator: ", ")); the providers accepted \(pushes.count { $0.fate != .refused }) pushes, \
                \(pushes.count { $0.isDuplicate }) of them again
                """)
        }
    }

    /// Waits until every challenge that was acknowledged has its final status on the log, and every dispatch its
    /// outcome.
    private func settle(_ tail: TopicTail, _ stage: ClusterStage, _ load: ClusterLoad) async throws {
        let end = ContinuousClock.now + .seconds(480)
        while ContinuousClock.now < end {
            let audit = try DeliveryAudit(tail, stage.cluster.names)
            let isComplete =
                load.acknowledged.isSubset(of: audit.created) && audit.withoutOutcome.isEmpty
                && audit.created.isSubset(of: audit.resolved.keys)
            if isComplete { return }
            try stage.cluster.standInsRun()
            try await Task.sleep(for: .milliseconds(500))
        }
    }
}
