import Foundation
import GRDB
import Synchronization
import Testing

@testable import Challenges
@testable import Storage

/// Counts from many tasks.
final class Tally: Sendable {
    private let value = Atomic(0)
    @discardableResult func add() -> Int { value.add(1, ordering: .relaxed).newValue }
    var count: Int { value.load(ordering: .relaxed) }
}

@Suite("Group commit", .timeLimit(.minutes(5)))
struct GroupCommitTests {
    struct Refused: Error {}

    /// A pool with one table and a group over it.
    func withGroup(
        bound: Int = 1000, largestGroup: Int = 500, _ body: (GroupCommit, DatabasePool, String) async throws -> Void
    ) async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "t.db").path
            var configuration = Configuration()
            configuration.busyMode = .immediateError
            let pool = try DatabasePool(path: path, configuration: configuration)
            try await pool.write { try $0.execute(sql: "CREATE TABLE t (n INTEGER)") }
            let group = GroupCommit(pool: pool, bound: bound, largestGroup: largestGroup) { _ in }
            try await body(group, pool, path)
            await group.close()
            try pool.close()
        }
    }

    func numbers(_ pool: DatabasePool) async throws -> [Int] {
        try await pool.read { try Int.fetchAll($0, sql: "SELECT n FROM t ORDER BY n") }
    }

    @Test("a write that throws undoes itself and nothing else of its group")
    func isolation() async throws {
        try await withGroup { group, pool, _ in
            let results = await withTaskGroup(of: (Int, Bool).self) { tasks in
                for number in 0..<100 {
                    tasks.addTask {
                        do {
                            try await group.write { database in
                                try database.run("INSERT INTO t VALUES (?)", [number])
                                if number % 3 == 0 { throw Refused() }
                                if number % 3 == 1 { try database.run("INSERT INTO t VALUES (?)", [number + 1000]) }
                            }
                            return (number, true)
                        } catch { return (number, false) }
                    }
                }
                return await tasks.reduce(into: []) { $0.append($1) }
            }
            for (number, isDone) in results { #expect(isDone == (number % 3 != 0)) }
            let expected = (0..<100).filter { $0 % 3 != 0 } + (0..<100).filter { $0 % 3 == 1 }.map { $0 + 1000 }
            let left = try await numbers(pool)
            #expect(left == expected)
            #expect(group.commits < 100)
        }
    }

    @Test("when the transaction cannot begin, every write fails and none runs")
    func cannotBegin() async throws {
        try await withGroup { group, pool, path in
            let other = try DatabaseQueue(path: path)
            let gate = DispatchSemaphore(value: 0)
            await withCheckedContinuation { holds in
                other.asyncWriteWithoutTransaction { database in
                    try? database.inTransaction(.immediate) {
                        holds.resume()
                        gate.wait()
                        return .rollback
                    }
                }
            }
            let ran = Tally()
            await withTaskGroup(of: Void.self) { tasks in
                for number in 0..<20 {
                    tasks.addTask {
                        await #expect(throws: DatabaseError.self) {
                            try await group.write { database in
                                ran.add()
                                try database.run("INSERT INTO t VALUES (?)", [number])
                            }
                        }
                    }
                }
            }
            #expect(ran.count == 0)
            gate.signal()
            // Behind the transaction that held the lock.
            try await other.writeWithoutTransaction { _ in }
            try await group.write { try $0.run("INSERT INTO t VALUES (7)") }
            #expect(try await numbers(pool) == [7])
            try other.close()
        }
    }

    @Test("when SQLite gives the transaction up on the way, the whole group fails without an effect")
    func lostTransaction() async throws {
        try await withGroup { group, pool, _ in
            let failed = Tally()
            let gate = DispatchSemaphore(value: 0)
            pool.asyncWriteWithoutTransaction { _ in gate.wait() }
            await withTaskGroup(of: Void.self) { tasks in
                for number in 0..<9 {
                    tasks.addTask {
                        do {
                            try await group.write { database in
                                try database.run("INSERT INTO t VALUES (?)", [number])
                                // As a full disk does it.
                                if number == 4 { try database.execute(sql: "ROLLBACK") }
                            }
                        } catch { failed.add() }
                    }
                }
                tasks.addTask {
                    // All nine are admitted by now or join a later group, of which the broken one holds some.
                    for _ in 0..<1000 { await Task.yield() }
                    gate.signal()
                }
            }
            let left = try await numbers(pool)
            #expect(!left.contains(4))
            #expect(left.count + failed.count == 9, "told failed means not in the file")
        }
    }

    @Test("more waiting writes than the bound are refused as busy; the others are done")
    func busy() async throws {
        try await withGroup(bound: 5) { group, pool, _ in
            let gate = DispatchSemaphore(value: 0)
            pool.asyncWriteWithoutTransaction { _ in gate.wait() }
            let refused = Tally()
            await withTaskGroup(of: Void.self) { tasks in
                for number in 0..<12 {
                    tasks.addTask {
                        do {
                            try await group.write { try $0.run("INSERT INTO t VALUES (?)", [number]) }
                        } catch {
                            #expect(error as? StoreError == .busy)
                            if refused.add() == 7 { gate.signal() }
                        }
                    }
                }
            }
            let left = try await numbers(pool)
            #expect(left.count == 5)
        }
    }

    @Test("close waits for what was admitted and refuses what comes after")
    func closing() async throws {
        try await withGroup(largestGroup: 10) { group, pool, _ in
            let done = Tally()
            await withTaskGroup(of: Void.self) { tasks in
                for number in 0..<100 {
                    tasks.addTask {
                        do {
                            try await group.write { try $0.run("INSERT INTO t VALUES (?)", [number]) }
                            done.add()
                        } catch { #expect(error as? StoreError == .closed) }
                    }
                }
                await group.close()
            }
            let left = try await numbers(pool)
            #expect(left.count == done.count)
            await #expect(throws: StoreError.closed) { try await group.write { _ in } }
        }
    }

    @Test("a cancelled caller's write is carried out")
    func cancelled() async throws {
        try await withGroup { group, pool, _ in
            let gate = DispatchSemaphore(value: 0)
            pool.asyncWriteWithoutTransaction { _ in gate.wait() }
            let task = Task { try await group.write { try $0.run("INSERT INTO t VALUES (1)") } }
            task.cancel()
            gate.signal()
            try await task.value
            #expect(try await numbers(pool) == [1])
        }
    }
}
