import ChallengeModel
import Challenges
import Foundation
import Logging
import Storage
import TestSupport
import Testing

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A folder that goes when the test ends.
func withTemporaryFolder<Result>(_ body: (URL) async throws -> Result) async throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-store-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try await body(folder)
}

@Suite("SQLite store", .timeLimit(.minutes(5)))
struct SQLiteStoreTests {
    @Test("conforms:", arguments: ConformanceCase.all + ConformanceCase.rangeLeases)
    func conformance(promise: ConformanceCase) async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "store.db").path, keys: TestKeys.both, limits: promise.limits,
                logger: quiet)
            try await promise.check(World(store))
            await store.close()
        }
    }

    @Test("what was acknowledged is in the file as it lies on disk, without a close")
    func crash() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, limits: .none, logger: quiet)
            let world = try await World(store)
            let factor = try await world.factor()
            let made = try await withThrowingTaskGroup(of: Challenge.self) { group in
                for _ in 0..<300 { group.addTask { try await world.challenge() } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let approved = try await store.answer(world.answer(made[0].sid, factor.sid), nowMs: World.t0 + 1)
            _ = try await store.outbox.claimOutbox(owner: "dead", limit: 10, leaseMs: 1000, nowMs: World.t0)
            for suffix in ["", "-wal", "-shm"] {
                let attributes = try FileManager.default.attributesOfItem(atPath: path + suffix)
                #expect(attributes[.posixPermissions] as? Int == 0o600, "nobody else on the machine reads it")
            }
            // What a kill leaves: the files, copied while the store is open and nobody has checkpointed.
            let image = folder.appending(path: "image")
            try FileManager.default.createDirectory(at: image, withIntermediateDirectories: true)
            for suffix in ["", "-wal"] {
                try FileManager.default.copyItem(
                    atPath: path + suffix, toPath: image.appending(path: "store.db").path + suffix)
            }
            let reopened = try ChallengeStore.sqlite(
                path: image.appending(path: "store.db").path, keys: TestKeys.both, limits: .none, logger: quiet)
            for challenge in made {
                let found = try await reopened.challenge(
                    challenge.sid, account: world.account, service: world.service, identity: world.identity,
                    factor: factor.sid)
                #expect(found == (challenge.sid == approved.sid ? approved : challenge))
            }
            // created, verified; dispatch and event of each; resolution and event of one.
            #expect(try await reopened.outbox.outboxState().rows == 2 + 600 + 2)
            #expect(
                try await reopened.authenticate(.account(world.account, authToken: world.authToken), nowMs: World.t0)
                    != nil)
            await reopened.close()
            await store.close()
        }
    }

    @Test("concurrent writes share commits")
    func sharedCommits() async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "store.db").path, keys: TestKeys.both, limits: .none, logger: quiet)
            let world = try await World(store)
            _ = try await world.factor()
            let before = store.commits
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<500 { group.addTask { _ = try await world.challenge() } }
                try await group.waitForAll()
            }
            #expect(store.commits - before < 250, "\(store.commits - before) commits for 500 challenges")
            await store.close()
        }
    }

    @Test("the file holds no auth token, access token, credential, one-time secret or code in clear")
    func secretsAtRest() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, limits: .none, logger: quiet)
            let world = try await World(store)
            let (_, secret) = try await store.createAccessToken(
                NewAccessToken(account: world.account, service: world.service, identity: world.identity),
                nowMs: World.t0)
            let factor = try await world.codeFactor()
            let code = world.code(atMs: World.t0 + 30_000)
            _ = try await store.createCodeChallenge(
                world.newChallenge(factor: factor.sid), code: code, nowMs: World.t0 + 30_000)
            await store.close()
            let bytes = try Data(contentsOf: URL(filePath: path))
            #expect(bytes.range(of: Data(world.account.rawValue.utf8)) != nil)
            let seed = String(decoding: World.seed, as: UTF8.self)
            for clear in [world.authToken, secret, "BEGIN PRIVATE KEY", seed, Base32.encode(World.seed), code] {
                #expect(bytes.range(of: Data(clear.utf8)) == nil)
            }
        }
    }

    @Test("a finished challenge is kept for as many days as configured, a factor until it is deleted")
    func retention() async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "store.db").path, keys: TestKeys.both, retentionDays: 2, logger: quiet)
            let world = try await World(store)
            let factor = try await world.factor()
            let challenge = try await world.challenge(factor: factor.sid)
            _ = try await store.answer(world.answer(challenge.sid, factor.sid), nowMs: World.t0 + 1)
            let twoDays = World.t0 + 2 * 24 * 3_600_000
            _ = try await store.sweep(limit: 10, nowMs: twoDays - 1)
            #expect(try await world.stored(challenge.sid)?.hiddenDetails != nil)
            _ = try await store.sweep(limit: 10, nowMs: twoDays)
            #expect(try await world.stored(challenge.sid) == nil)
            #expect(try await store.factor(keyID: factor.keyID.rawValue) == factor)
            await store.close()
        }
    }

    @Test(
        "one serves a file at a time, by whichever name; tools open it beside; what its predecessor claimed is free at once"
    )
    func serving() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let link = folder.appending(path: "link.db").path
            func open(_ path: String, isServing: Bool) throws -> ChallengeStore {
                try ChallengeStore.sqlite(
                    path: path, keys: TestKeys.both, limits: .none, isServing: isServing, logger: quiet)
            }
            let first = try open(path, isServing: true)
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
            let world = try await World(first)
            _ = try await world.factor()
            #expect(
                try await first.outbox.claimOutbox(owner: "one", limit: 10, leaseMs: 60_000, nowMs: World.t0).count == 2
            )
            for name in [path, link] {
                #expect {
                    try open(name, isServing: true)
                } throws: { error in
                    if case .failed(let text) = error as? StoreError {
                        text.contains("process \(getpid())") && text.contains(name) && text.contains("store.path")
                    } else {
                        false
                    }
                }
            }
            let tool = try open(path, isServing: false)
            #expect(try await tool.outbox.claimOutbox(owner: "two", limit: 10, leaseMs: 1, nowMs: World.t0).isEmpty)
            await tool.close()
            await first.close()
            let second = try open(link, isServing: true)
            #expect(
                try await second.outbox.claimOutbox(owner: "two", limit: 10, leaseMs: 1, nowMs: World.t0).count == 2)
            await second.close()
        }
    }

    @Test("a path that cannot be opened is named")
    func badPath() {
        #expect {
            try ChallengeStore.sqlite(path: "/nonexistent/store.db", keys: TestKeys.both, limits: .none, logger: quiet)
        } throws: { error in
            if case .failed(let text) = error as? StoreError { text.contains("/nonexistent/store.db") } else { false }
        }
    }

    @Test(
        "measure: creations per second from 64 tasks",
        .enabled(if: Speed.isMeasured, "BECKON_MEASURE is not set"))
    func measure() async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "store.db").path, keys: TestKeys.both, limits: .none, logger: quiet)
            let world = try await World(store)
            for person in 0..<1000 { _ = try await world.factor(identity: "person-\(person)") }
            let (tasks, each) = (64, 500)
            let start = ContinuousClock.now
            let before = store.commits
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<tasks {
                    group.addTask {
                        for index in 0..<each {
                            _ = try await world.challenge(identity: "person-\((task * each + index) % 1000)")
                        }
                    }
                }
                try await group.waitForAll()
            }
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            let commits = store.commits - before
            Speed.expect(
                "store-creations",
                ["creations_per_second": Double(tasks * each) / seconds, "commits": Double(commits)],
                commits < tasks * each)
            await store.close()
        }
    }
}
