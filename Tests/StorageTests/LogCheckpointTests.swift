import ChallengeModel
import Foundation
import GRDB
import Testing

@testable import Challenges
@testable import Storage

@Suite("Checkpoints of the log", .timeLimit(.minutes(5)))
struct LogCheckpointTests {
    @Test("under steady writes the log starts again at its beginning, and nothing is lost")
    func bounded() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "s.db").path
            let store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            // Each transaction is about 30 frames of 4 KB; 2,500 of them are nine times what one log holds.
            let (writes, value) = (2500, [UInt8](repeating: 7, count: 110_000))
            try await withThrowingTaskGroup(of: Void.self) { group async throws in
                for _ in 0..<4 {
                    group.addTask {
                        for _ in 0..<(writes / 4) {
                            try await store.sqlite.writeRows {
                                try SQLiteTransaction(connection: $0).enqueue(
                                    OutboxRecord(.events, key: "k", value: value, contentType: .cloudEvent), nowMs: 0)
                                try $0.run("DELETE FROM outbox WHERE id < (SELECT max(id) FROM outbox) - 10")
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            let log = try FileManager.default.attributesOfItem(atPath: path + "-wal")[.size] as? Int ?? 0
            // 32 MB, and what comes while it is copied; 280 MB were written.
            #expect(log > 0 && log < 200_000_000, "\(log) bytes")
            let last = try await store.sqlite.readRows { try $0.lastOutboxID() }
            #expect(last == Int64(writes))
            await store.close()
            let reopened = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            #expect(
                try await reopened.sqlite.readRows { try $0.integer("SELECT max(id) FROM outbox") } == Int64(writes))
            #expect(try await reopened.sqlite.readRows { try $0.texts("PRAGMA integrity_check") } == ["ok"])
            await reopened.close()
        }
    }
}
