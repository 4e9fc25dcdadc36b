import Challenges
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Storage

@Suite("PostgreSQL: bad days", .postgres, .timeLimit(.minutes(10)))
struct PostgresFaultTests {
    private final class Runs: Sendable {
        private let runs = Atomic(0)
        func add() -> Int { runs.add(1, ordering: .relaxed).newValue }
        var count: Int { runs.load(ordering: .relaxed) }
    }

    /// What writers were told.
    private final class Tally: Sendable {
        let told = Mutex<Set<Int64>>([])
        let mayBe = Mutex<Set<Int64>>([])
        let isOver = Atomic(false)
    }

    private func isUnavailable(_ error: StoreError?) -> Bool { if case .unavailable = error { true } else { false } }

    /// What a caller was told.
    private func refusal(_ body: () async throws -> Void) async -> StoreError? {
        do {
            try await body()
            return nil
        } catch {
            return error as? StoreError
        }
    }

    @Test("a session that is ended before its COMMIT is replaced, and its transaction carried out elsewhere")
    func terminated() async throws {
        try await PostgresWorld.with { world in
            try await world.untilWarm()
            let runs = Atomic(0)
            try await world.engine.run(.write) { connection in
                let pid = try connection.integer("SELECT pg_backend_pid()", [])
                if runs.add(1, ordering: .relaxed).newValue == 1 {
                    try world.server.blockingSQL("SELECT pg_terminate_backend(\(pid))")
                }
                try connection.run("INSERT INTO things (id) VALUES (?)", [1])
                _ = try connection.integer("SELECT count(*) FROM things", [])
            }
            #expect(runs.load(ordering: .relaxed) == 2)
            #expect(try await world.count() == 1)
            try await world.untilWarm()
        }
    }

    @Test("a statement that is cancelled is given up, and the store says busy")
    func cancelled() async throws {
        try await PostgresWorld.with { world in
            try await world.server.sql("ALTER ROLE ALL IN DATABASE \(world.database) SET statement_timeout = '50ms'")
            let settings = world.engine.pool.settings
            let engine = try PostgresEngine(settings, logger: PostgresWorld.quiet)
            let refused = await refusal {
                try await engine.run(.write) { _ = try $0.integer("SELECT 1 FROM pg_sleep(30)", []) }
            }
            #expect(refused == .busy)
            await engine.close()
        }
    }

    @Test("a lock that somebody holds for too long ends the transaction after the caller's deadline, not before")
    func locked() async throws {
        try await PostgresWorld.with(settings: { $0.requestDeadline = .seconds(10) }) { world in
            try await world.insert(1)
            let isHeld = AsyncStream.makeStream(of: Void.self)
            let isFree = DispatchSemaphore(value: 0)
            async let holder: Void = world.engine.run(.write) { connection in
                guard try connection.row("SELECT id FROM things WHERE id = 1 FOR UPDATE", []) != nil else { return }
                isHeld.continuation.yield()
                isFree.wait()
            }
            for await _ in isHeld.stream { break }
            let tries = Atomic(0)
            let refused = await refusal {
                try await world.engine.run(.write) { connection in
                    tries.add(1, ordering: .relaxed)
                    _ = try connection.row("SELECT id FROM things WHERE id = 1 FOR UPDATE NOWAIT", [])
                }
            }
            switch refused {
            case .unavailable(let fault):
                #expect(fault.cause == .locked && fault.detail.contains("55P03") && !fault.mayBeDone)
            // A try was under way when the deadline passed.
            case .busy: break
            default: Issue.record("\(String(describing: refused))")
            }
            #expect(tries.load(ordering: .relaxed) > 2)
            isFree.signal()
            // It held for longer than it may, and nothing of it was to be written.
            _ = try? await holder
            #expect(world.engine.fault == nil)
        }
    }

    @Test("of two that wait for each other both are carried out")
    func deadlock() async throws {
        try await PostgresWorld.with { world in
            try await world.insert(1)
            try await world.insert(2)
            let runs = Runs()
            let holding = Runs()
            let engine = world.engine
            let move = { @Sendable (first: Int64, second: Int64) async throws in
                try await engine.run(.write) { connection in
                    let isFirst = runs.add() <= 2
                    _ = try connection.changes("UPDATE things SET flag = coalesce(flag, 0) + 1 WHERE id = ?", [first])
                    // Both hold one before either asks for the other.
                    _ = holding.add()
                    while isFirst, holding.count < 2 { usleep(1000) }
                    _ = try connection.changes("UPDATE things SET flag = coalesce(flag, 0) + 1 WHERE id = ?", [second])
                }
            }
            try await withThrowingTaskGroup { group in
                group.addTask { try await move(1, 2) }
                group.addTask { try await move(2, 1) }
                try await group.waitForAll()
            }
            #expect(try await world.server.sql("SELECT sum(flag) FROM things", in: world.database) == "4")
            #expect(runs.count == 3)
        }
    }

    @Test(
        "a demoted primary: every connection of before is closed, the readiness fault says read-only, and all comes back by itself"
    )
    func readOnly() async throws {
        try await PostgresWorld.with { world in
            try await world.untilWarm()
            // What a demotion looks like to a session that was open, and to one that is opened then.
            try await world.server.sql("ALTER DATABASE \(world.database) SET default_transaction_read_only = on")
            let openers = world.engine.pool.settings.connections
            try await withThrowingTaskGroup { group in
                for _ in 0..<openers {
                    group.addTask {
                        try await world.engine.run(.read) { connection in
                            _ = try connection.rows("SET default_transaction_read_only = on", [PostgresValue]())
                            usleep(100_000)
                        }
                    }
                }
                try await group.waitForAll()
            }
            let refused = await refusal { try await world.insert(1) }
            #expect(refused == .busy || isUnavailable(refused), "\(String(describing: refused))")
            try await world.until { world.engine.fault?.cause == .readOnly }
            #expect(isUnavailable(await refusal { try await world.insert(2) }))
            try await world.server.sql("ALTER DATABASE \(world.database) SET default_transaction_read_only = off")
            try await world.until { world.engine.fault == nil }
            try await world.insert(3)
            #expect(try await world.count() == 1)
        }
    }

    @Test(
        "a backend that is killed takes all sessions of the server with it; callers are refused at once, and all comes back"
    )
    func killedBackend() async throws {
        let server = try await PostgresServer(.full)
        try await PostgresWorld.with(server) { world in
            try await world.untilWarm()
            try await world.insert(1)
            let pid = try await world.engine.run(.read) { try $0.integer("SELECT pg_backend_pid()", []) }
            kill(Int32(pid), SIGKILL)
            // All of them are ended, and the server has recovered.
            try await world.until { server.log.split(separator: "ready to accept connections").count > 2 }
            try await world.until { world.engine.fault == nil && world.engine.pool.gauges.open == 4 }
            try await world.insert(2)
            #expect(try await world.count() == 2)
        }
        try await server.stop()
    }

    @Test(
        "a server that is restarted is found again, with everything that was acknowledged",
        arguments: [PostgresServer.End.fast, .killed])
    func restart(_ end: PostgresServer.End) async throws {
        let server = try await PostgresServer(.full)
        try await PostgresWorld.with(server) { world in
            try await world.untilWarm()
            let tally = Tally()
            let writers = Task {
                await withTaskGroup { group in
                    for writer in 0..<8 {
                        group.addTask {
                            var id = Int64(writer * 1_000_000)
                            while !tally.isOver.load(ordering: .relaxed) {
                                id += 1
                                do {
                                    try await world.insert(id)
                                    tally.told.withLock { _ = $0.insert(id) }
                                } catch StoreError.unavailable(let fault) {
                                    if fault.mayBeDone { tally.mayBe.withLock { _ = $0.insert(id) } }
                                    try? await Task.sleep(for: .milliseconds(5))
                                } catch { try? await Task.sleep(for: .milliseconds(5)) }
                            }
                        }
                    }
                }
            }
            try await world.until { tally.told.withLock { $0.count } > 200 }
            try await server.stop(end)
            try await world.until { world.engine.fault?.cause == .unreachable }
            #expect(isUnavailable(await refusal { try await world.insert(-1) }))
            let count = tally.told.withLock { $0.count }
            try await server.start()
            try await world.until { tally.told.withLock { $0.count } > count + 200 }
            tally.isOver.store(true, ordering: .relaxed)
            await writers.value
            let stored = Set(
                try await server.sql("SELECT id FROM things", in: world.database).split(separator: "\n").compactMap {
                    Int64($0)
                })
            let told = tally.told.withLock { $0 }
            #expect(told.subtracting(stored).isEmpty, "acknowledged and lost")
            #expect(stored.subtracting(told).subtracting(tally.mayBe.withLock { $0 }).isEmpty, "refused and done")
        }
        try await server.stop()
    }

    @Test("a frozen session is given up after the statement's deadline; the others go on")
    func frozen() async throws {
        try await PostgresWorld.with(settings: { $0.statementDeadline = .seconds(3) }) { world in
            try await world.untilWarm()
            let frozen = Atomic(Int32(0))
            let refused = await refusal {
                try await world.engine.run(.write) { connection in
                    let pid = Int32(try connection.integer("SELECT pg_backend_pid()", []))
                    frozen.store(pid, ordering: .relaxed)
                    kill(pid, SIGSTOP)
                    _ = try connection.integer("SELECT count(*) FROM things", [])
                }
            }
            #expect(refused == .busy)
            try await world.insert(1)
            kill(frozen.load(ordering: .relaxed), SIGCONT)
            try await world.untilWarm()
        }
    }

    @Test("an exhausted pool: who waits too long is told, as are those who are too many, and nobody else")
    func exhausted() async throws {
        try await PostgresWorld.with(connections: 1, settings: { $0.acquireDeadline = .seconds(1) }) { world in
            let isHeld = AsyncStream.makeStream(of: Void.self)
            let isFree = DispatchSemaphore(value: 0)
            async let holder: Void = world.engine.run(.write) { connection in
                _ = try connection.integer("SELECT 1", [])
                isHeld.continuation.yield()
                isFree.wait()
            }
            for await _ in isHeld.stream { break }
            let told = await withTaskGroup { group in
                for id in 0..<10 { group.addTask { await refusal { try await world.insert(Int64(id)) } } }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(told == Array(repeating: .busy, count: 10))
            isFree.signal()
            try await holder
            try await world.insert(1)
            #expect(try await world.count() == 1)
            #expect(world.engine.connections?.refused == 10)
        }
    }

    @Test("a backlog of slow records refuses no creation and no other request, and each of them is done in the end")
    func backlog() async throws {
        try await PostgresWorld.with { world in
            try await world.untilWarm()
            let begun = AsyncStream.makeStream(of: Void.self)
            let isFree = DispatchSemaphore(value: 0)
            // As many as an entrance has under way at most.
            let count = 256
            try await withThrowingTaskGroup(of: Void.self) { group in
                for id in 0..<count {
                    group.addTask {
                        try await StoreWork.$current.withValue(.background) {
                            try await world.engine.run(.write) { connection in
                                begun.continuation.yield()
                                isFree.wait()
                                try connection.run("INSERT INTO things (id) VALUES (?)", [.integer(Int64(id))])
                            }
                        }
                    }
                }
                var held = begun.stream.makeAsyncIterator()
                for _ in 0..<2 { _ = await held.next() }
                try await world.until { world.engine.pool.gauges.waiting == count - 2 }
                for id in 0..<20 {
                    try await StoreWork.$current.withValue(.creation) { try await world.insert(Int64(1000 + id)) }
                    try await world.insert(Int64(2000 + id))
                    try await world.engine.outbox.keepOutbox(owner: "test", leaseMs: 1)
                }
                #expect(try await world.count() == 40)
                for _ in 0..<count { isFree.signal() }
                try await group.waitForAll()
            }
            #expect(try await world.count() == 40 + count)
            #expect(world.engine.connections?.refused == 0)
        }
    }

    @Test("wrong password, role, database, host and certificate: the reason is said, without the password")
    func refusedConnections() async throws {
        let server = try await PostgresServer(
            files: ["hba": "local all postgres trust\nlocal all all scram-sha-256\n"])
        try await server.sql("CREATE ROLE app LOGIN PASSWORD 'right-password'")
        try await server.sql("ALTER SYSTEM SET hba_file = '\(server.data.path)/hba'")
        try await server.stop(.fast)
        try await server.start()
        let wrong = try await complaint(
            PostgresSettings(url: server.url("postgres", user: "app"), password: "wrong-password"))
        #expect(wrong.contains("28P01") && !wrong.contains("wrong-password"), "\(wrong)")
        #expect(
            try await complaint(
                PostgresSettings(url: server.url("postgres", user: "app"), password: "right-password")) == "")
        #expect(try await complaint(PostgresSettings(url: server.url("missing"))).contains("3D000"))
        #expect(
            try await complaint(PostgresSettings(url: "postgresql://postgres@127.0.0.1:1/postgres")).contains("refused")
        )
        try await server.stop()
    }

    @Test("TLS: a certificate for another name, or of nobody known, is no connection; the right one is")
    func certificates() async throws {
        let (certificate, key) = try PostgresServer.certificate()
        let port = try PostgresServer.freePort()
        let server = try await PostgresServer(
            settings: ["ssl=on"],
            files: [
                "server.crt": certificate, "server.key": key, "hba": "local all all trust\nhostssl all all all trust\n",
            ], port: port)
        let authority = server.data.appending(path: "server.crt").path
        func url(_ host: String, _ more: String) -> String { "postgresql://postgres@\(host):\(port)/postgres?\(more)" }
        let full = "sslmode=verify-full&sslrootcert=\(authority)"
        #expect(try await complaint(PostgresSettings(url: url("localhost", full))) == "")
        let wrongName = try await complaint(PostgresSettings(url: url("127.0.0.1", full)))
        #expect(wrongName.contains("does not match host name"), "\(wrongName)")
        let unknown = try await complaint(
            PostgresSettings(url: url("localhost", "sslmode=verify-full&sslrootcert=/nonexistent")))
        #expect(unknown.contains("/nonexistent"), "\(unknown)")
        // One of several hosts is right.
        let several = "postgresql://postgres@127.0.0.1:\(port),localhost:\(port)/postgres?\(full)"
        #expect(try await complaint(PostgresSettings(url: several)) == "")
        try await server.stop()
    }

    /// What an operator reads; empty: it is reached.
    private func complaint(_ settings: PostgresSettings) async throws -> String {
        var settings = settings
        settings.connections = 2
        settings.acquireDeadline = .seconds(60)
        settings.connectDeadline = .seconds(30)
        let engine = try PostgresEngine(settings, logger: PostgresWorld.quiet)
        let complaint: String
        do {
            try await engine.untilReached(
                name: settings.description, within: .milliseconds(200), logger: PostgresWorld.quiet)
            complaint = ""
        } catch StoreError.failed(let reason) {
            #expect(engine.fault?.cause == .unreachable)
            complaint = reason
        }
        await engine.close()
        return complaint
    }
}
