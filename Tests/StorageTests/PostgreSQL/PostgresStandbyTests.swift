import ChallengeModel
import Challenges
import Foundation
import TestSupport
import Testing

@testable import Storage

@Suite("PostgreSQL: a synchronous standby that does not confirm", .postgres, .timeLimit(.minutes(10)))
struct PostgresStandbyTests {
    private func claim(_ world: PostgresWorld, limit: Int = 500) async throws -> [OutboxRow] {
        try await world.engine.outbox.claimOutbox(owner: "one", limit: limit, leaseMs: 60_000, nowMs: 0)
    }

    /// Commits wait for a standby that does not exist.
    private func demandStandby(of server: PostgresServer) async throws {
        try await server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try await server.sql("SELECT pg_reload_conf()")
    }

    private func forgoStandby(of server: PostgresServer) async throws {
        try await server.sql("ALTER SYSTEM RESET synchronous_standby_names")
        try await server.sql("SELECT pg_reload_conf()")
    }

    @Test("rows that no synchronous standby has are not handed out: a promoted one would not know them")
    func unreplicated() async throws {
        let server = try await PostgresServer(.full)
        try await PostgresWorld.with(
            server,
            settings: {
                $0.statementDeadline = .seconds(3)
                $0.requestDeadline = .seconds(6)
            }
        ) { world in
            try await world.engine.run(.write) { connection in
                for value: UInt8 in 1...2 {
                    try PostgresTransaction(connection: connection).enqueue(
                        OutboxRecord(.events, key: "k", value: [value], contentType: .json), nowMs: 0)
                }
            }
            // The lanes are leased from now on, so that nothing else has to be written.
            #expect(try await claim(world, limit: 1).count == 1)
            try await demandStandby(of: server)
            // The server's commits wait from when its checkpointer has read the setting. The lease has a minute.
            var isRefused = false
            for _ in 0..<1200 where !isRefused {
                do {
                    let rows = try await claim(world)
                    try await world.engine.outbox.releaseOutbox(rows.map(\.id), owner: "one")
                    try await Task.sleep(for: .milliseconds(50))
                } catch { isRefused = true }
            }
            #expect(isRefused)
            // Whatever else waits for the standby there: what was only read waits for it too.
            await #expect(throws: StoreError.self) {
                try await world.engine.run(.read) { connection in
                    _ = try connection.integer("SELECT 1", [])
                    try connection.awaitStandby()
                }
            }
            try await forgoStandby(of: server)
            var rows: [OutboxRow] = []
            while rows.isEmpty {
                try await Task.sleep(for: .milliseconds(50))
                rows = (try? await claim(world)) ?? []
            }
            #expect(rows.count == 1)
        }
        try await server.stop()
    }

    @Test("a standby that is away takes few connections; changes are refused at once, and reads go on")
    func standbyAway() async throws {
        let server = try await PostgresServer(.full, settings: ["max_connections=30"])
        try await PostgresWorld.with(
            server,
            settings: {
                $0.statementDeadline = .seconds(1)
                $0.requestDeadline = .seconds(2)
            }
        ) { world in
            try await world.untilWarm()
            try await demandStandby(of: server)
            var id: Int64 = 0
            try await world.until {
                id += 1
                let next = id
                _ = await storeError { try await world.insert(next) }
                return world.engine.fault == .standbyAway
            }
            for _ in 0..<200 {
                #expect(await storeError { try await world.insert(0) } == .unavailable(.standbyAway))
            }
            await world.engine.probe()
            #expect(world.engine.fault == .standbyAway, "its sessions wait still")
            let waiting = try await server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            #expect((1...8).contains(Int(waiting) ?? 0), "\(waiting)")
            #expect(try await world.engine.run(.read) { try $0.integer("SELECT 7", []) } == 7)
            try await forgoStandby(of: server)
            try await world.until {
                await world.engine.probe()
                return world.engine.fault == nil
            }
            try await world.until { await storeError { try await world.insert(-1) } == nil }
        }
        try await server.stop()
    }
}
