import ChallengeModel
import Foundation
import GRDB
import Testing

@testable import Challenges
@testable import Storage

@Suite("A store's file", .timeLimit(.minutes(5)))
struct StoreFileTests {
    private func open(_ path: String, isServing: Bool = false) throws -> ChallengeStore {
        try ChallengeStore.sqlite(
            path: path, keys: TestKeys.both, limits: .none, isServing: isServing, logger: quiet)
    }

    private func refusal(_ path: String, isServing: Bool = false) async -> String? {
        do {
            let store = try open(path, isServing: isServing)
            await store.close()
            return nil
        } catch StoreError.failed(let text) {
            return text
        } catch {
            return "\(error)"
        }
    }

    @Test("one that a later version has migrated is refused to everybody, and nothing is written")
    func laterVersion() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            try await open(path).close()
            let later = try DatabaseQueue(path: path)
            try await later.write {
                try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99 of a later version')")
                try $0.execute(sql: "ALTER TABLE services ADD COLUMN of_later TEXT NOT NULL DEFAULT 'x'")
            }
            try later.close()
            for isServing in [true, false] {
                let text = await refusal(path, isServing: isServing)
                #expect(text?.contains("migrated by a later version") == true && text?.contains(path) == true)
            }
            let after = try DatabaseQueue(path: path)
            let steps = try await after.read { try String.fetchAll($0, sql: "SELECT identifier FROM grdb_migrations") }
            #expect(steps.contains("99 of a later version") && steps.count == Migrations.migrator.migrations.count + 1)
            try after.close()
        }
    }

    @Test("a tool of a later version does not migrate it under a producer of an earlier one")
    func migrationUnderProducer() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let producer = try open(path, isServing: true)
            try await producer.sqlite.writeRows {
                try $0.run("DELETE FROM grdb_migrations WHERE identifier = ?", [Migrations.migrator.migrations.last])
            }
            let text = await refusal(path)
            #expect(text?.contains("a producer of an earlier one serves it") == true, "\(text ?? "opened")")
            await producer.close()
        }
    }

    @Test("one that has a second name is refused by each of them; the producer that had it before goes on")
    func hardLink() async throws {
        try await withTemporaryFolder { folder in
            let (one, two) = (folder.appending(path: "a"), folder.appending(path: "b"))
            for folder in [one, two] {
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            }
            let (path, link) = (one.appending(path: "store.db").path, two.appending(path: "store.db").path)
            let producer = try open(path, isServing: true)
            try FileManager.default.linkItem(atPath: path, toPath: link)
            for isServing in [true, false] {
                let text = await refusal(link, isServing: isServing)
                #expect(text?.contains("has 2 names (hard links)") == true && text?.contains(link) == true)
            }
            _ = try await producer.createAccount(nowMs: 0)
            await producer.close()
            // Whichever name it was written by, what is in that log would be lost by the other.
            #expect(await refusal(path, isServing: true)?.contains("2 names") == true)
            try FileManager.default.removeItem(atPath: link)
            #expect(await refusal(path, isServing: true) == nil)
        }
    }

    @Test("one that is served under another name, as by a mount of the file alone, is refused to tools too")
    func otherName() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            try await open(path).close()
            // What a producer elsewhere holds: the lock of the file itself, and one beside a path that is not ours.
            let file = Glibc.open(path, O_RDWR)
            #expect(flock(file, LOCK_EX | LOCK_NB) == 0)
            let text = await refusal(path)
            #expect(text?.contains("under another name") == true, "\(text ?? "opened")")
            close(file)
            #expect(await refusal(path) == nil)
        }
    }

    @Test("tools and a producer that come at once wait for each other")
    func atOnce() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            // The first makes the schema, the others wait for it.
            let refusals = await withTaskGroup(of: String?.self) { group in
                for index in 0..<6 { group.addTask { await refusal(path, isServing: index == 3) } }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(refusals.allSatisfy { $0 == nil }, "\(refusals)")
        }
    }
}
