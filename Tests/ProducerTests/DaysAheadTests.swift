import ChallengeModel
import Challenges
import Foundation
import Logging
import ServiceSupport
import Storage
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Days ahead", .postgres, .timeLimit(.minutes(5)))
struct DaysAheadTests {
    @Test("a producer on PostgreSQL tells how many days have partitions")
    func metric() async throws {
        let logger = ProducerHarness.logger
        let server = try await PostgresServer.shared()
        let settings = try PostgresSettings(url: server.url(try await server.database()))
        let migrations = try await PostgresMigrations(settings, logger: logger)
        _ = try await migrations.run()
        await migrations.close()
        let store = try await ChallengeStore.postgres(
            settings, keys: StoreKeys(store: .random(), configuration: .random()), logger: logger)
        let nowMs = Timestamp.nowMs()
        for (days, ahead) in [(0, 7.0), (6, 1.0), (9, -1.0)] {
            let metrics = MetricCounts()
            let watch = StoreWatch(store: store, readiness: Readiness(), logger: logger, metrics: metrics) {
                nowMs + Int64(days) * 86_400_000
            }
            await watch.lookAtDays()
            #expect(metrics.measured(.storeDaysAhead, []) == ahead)
        }
        await store.close()
    }
}
