import ChallengeModel
import Doctor
import Foundation
import GRDB
import Logging
import ServiceSupport
import Simulators
import Storage
import TestSupport
import Testing
import Wire

@testable import Challenges
@testable import Doctor

@Suite("Mistakes of files, limits and stores", .timeLimit(.minutes(5)))
struct LocalTests {
    // MARK: Files

    @Test("a file that does not exist, a key that all may read, and certificates that end")
    func files() async throws {
        try await Ward.withFolder { folder in
            let (certificate, key) = (folder.appending(path: "c.pem").path, folder.appending(path: "k.pem").path)
            func examine(
                _ certificates: SimulatedCertificates, mode: Int = 0o400
            ) async throws -> [String: CheckResult] {
                try? FileManager.default.removeItem(atPath: key)
                try certificates.writeIdentity(certificateFile: certificate, keyFile: key)
                try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: key)
                let role = Ward.role(.producer) {
                    $0.files = [
                        ExaminedFile(certificate, setting: "api.tlsCertificateFile", content: .certificates),
                        ExaminedFile(key, setting: "api.tlsKeyFile", content: .secret),
                    ]
                }
                return await Ward.examine([role], only: ["configuration"])
            }
            #expect(try await examine(SimulatedCertificates()).isPassed("configuration"))
            try await examine(SimulatedCertificates(), mode: 0o644).expect(
                "configuration", "readable-by-others", saw: key, mend: "chmod 0400 \(key)")
            try await examine(SimulatedCertificates(isExpired: true)).expect(
                "configuration", "certificate-expired", saw: certificate, mend: "renew the certificate")
            try await examine(SimulatedCertificates(validDays: 7)).expect(
                "configuration", "certificate-expires-soon", saw: certificate, mend: "renew the certificate")
            try FileManager.default.removeItem(atPath: certificate)
            let role = Ward.role(.producer) {
                $0.files = [ExaminedFile(certificate, setting: "api.tlsCertificateFile", content: .certificates)]
            }
            await Ward.examine([role], only: ["configuration"]).expect(
                "configuration", "unreadable", saw: "No such file", mend: certificate)
        }
    }

    // MARK: Limits

    @Test("this process has a limit of open files that is read, and too few of them are found")
    func limits() async {
        let role = Ward.role(.producer) { $0.connections = 1 << 30 }
        await Ward.examine([role], only: ["limits"]).expect(
            "limits", "open-files", saw: "open files", mend: "LimitNOFILE")
    }

    @Test("quota and memory of a control group", arguments: ["50000 100000", "max 100000", "200000 100000"])
    func group(cpuMax: String) {
        var facts = Facts(Examination([ExaminedRole(.dispatcher)]), nowMs: 0)
        let quota = ProcessFacts.processors(cpuMax: cpuMax)
        #expect(quota == ["50000 100000": 0.5, "200000 100000": 2][cpuMax])
        facts.limits = .seen(ProcessFacts(openFiles: 65_536, processors: quota, memory: 100 << 20))
        let found = Doctor.limitChecks.map { Doctor.verdict($0, facts) }
        guard case .found(let findings) = found[0] else {
            Issue.record("\(found)")
            return
        }
        #expect(findings.map(\.mistake) == (quota == 0.5 ? ["processor-quota"] : []) + ["memory-limit"])
    }

    // MARK: SQLite

    private static let logger = Logger(label: "store") { _ in SwiftLogNoOpLogHandler() }

    private func examine(_ store: ExaminedStore, _ keys: KeyRing?) async -> [String: CheckResult] {
        let role = Ward.role(.producer) {
            $0.store = store
            $0.storeKeys = keys
            $0.storeConnections = 16
        }
        return await Ward.examine([role], only: ["store", "keys"])
    }

    /// A store with an account, closed again.
    private func makeStore(_ path: String, _ keys: KeyRing) async throws {
        let store = try ChallengeStore.sqlite(
            path: path, keys: StoreKeys(store: keys, configuration: keys), logger: Self.logger)
        _ = try await store.createAccount(nowMs: Timestamp.nowMs())
        await store.close()
    }

    @Test("a good SQLite store passes, also while a producer serves it; the look changes no byte")
    func good() async throws {
        try await Ward.withFolder { folder in
            let (path, keys) = (folder.appending(path: "s.sqlite").path, KeyRing.random())
            try await makeStore(path, keys)
            let before = try Data(contentsOf: URL(filePath: path))
            let alone = await examine(.file(path), keys)
            #expect(alone.isPassed("store") && alone.isPassed("keys"), "\(alone)")
            #expect(try Data(contentsOf: URL(filePath: path)) == before)
            let serving = try ChallengeStore.sqlite(
                path: path, keys: StoreKeys(store: keys, configuration: keys), isServing: true, logger: Self.logger)
            let beside = await examine(.file(path), keys)
            #expect(beside.isPassed("store") && beside.isPassed("keys"), "\(beside)")
            _ = try await serving.createAccount(nowMs: Timestamp.nowMs())
            await serving.close()
        }
    }

    @Test("a file that does not exist is not made")
    func absent() async throws {
        try await Ward.withFolder { folder in
            let path = folder.appending(path: "s.sqlite").path
            let results = await examine(.file(path), .random())
            #expect(results.reasonForSkipping("store")?.contains("does not exist yet") == true)
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test("keys that are not those of the store: another key of the same id, and a missing one")
    func keys() async throws {
        try await Ward.withFolder { folder in
            let path = folder.appending(path: "s.sqlite").path
            try await makeStore(path, .random(id: "k1"))
            let wrong = await examine(.file(path), .random(id: "k1"))
            wrong.expect("keys", "store-key", saw: "is not the key of that id", mend: "beckon secrets reseal")
            let missing = await examine(.file(path), .random(id: "k2"))
            missing.expect("keys", "store-key", saw: "lacks key k1", mend: "BECKON_STORE_KEYS")
            #expect(missing.isPassed("store"))
        }
    }

    private static func change(_ path: String, _ sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

    @Test("a schema of an earlier and of a later version, no schema, and no database")
    func schema() async throws {
        try await Ward.withFolder { folder in
            let (path, keys) = (folder.appending(path: "s.sqlite").path, KeyRing.random())
            try await makeStore(path, keys)
            try Self.change(path, "INSERT INTO grdb_migrations VALUES ('999 of tomorrow')")
            await examine(.file(path), keys).expect("store", "schema-newer", mend: "version that has migrated")
            try Self.change(
                path,
                """
                DELETE FROM grdb_migrations WHERE identifier = '999 of tomorrow' OR rowid = \
                (SELECT max(rowid) FROM grdb_migrations WHERE identifier <> '999 of tomorrow')
                """)
            let older = await examine(.file(path), keys)
            older.expect("store", "schema-older", saw: "migrations are done", mend: "beckon migrate up")
            #expect(older.reasonForSkipping("keys") != nil)

            let other = folder.appending(path: "other.sqlite").path
            try Self.change(other, "CREATE TABLE t (a)")
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: other)
            await examine(.file(other), keys).expect("store", "no-schema", mend: "store.path")

            let text = folder.appending(path: "text").path
            try Data(repeating: 65, count: 8192).write(to: URL(filePath: text))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: text)
            await examine(.file(text), keys).expect("store", "refused", saw: "not a database", mend: "correct the path")
        }
    }

    @Test("a store that every user may read")
    func exposed() async throws {
        try await Ward.withFolder { folder in
            let (path, keys) = (folder.appending(path: "s.sqlite").path, KeyRing.random())
            try await makeStore(path, keys)
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
            await examine(.file(path), keys).expect("store", "readable-by-others", mend: "chmod 0600 \(path)")
        }
    }

    @Test(
        "a volume that is nearly full, judged",
        arguments: [
            (0.5, 1 << 40, nil), (0.05, 1 << 40, "volume-filling"), (0.01, 1 << 40, "volume-full"),
            (0.5, 1 << 20, "volume-full"),
        ])
    func volume(share: Double, bytes: Int64, mistake: String?) throws {
        let role = Ward.role(.producer) { $0.store = .file("/s.sqlite") }
        var facts = Facts(Examination([role]), nowMs: 0)
        var store = StoreFacts()
        store.file = .init(isReadableByOthers: false, freeShare: share, freeBytes: bytes)
        facts.store = .seen(.success(store))
        let verdict = Doctor.verdict(try #require(Doctor.storeChecks.first), facts)
        if case .found(let findings) = verdict {
            #expect(findings.map(\.mistake) == [mistake])
        } else {
            #expect(mistake == nil)
        }
    }

    // MARK: PostgreSQL

    @Test(
        "a database without tables, with an older schema, a good one, and one that is away",
        .enabled(if: PostgresServer.binaries != nil, "PostgreSQL is not installed"))
    func postgres() async throws {
        let server = try await PostgresServer.shared()
        let keys = KeyRing.random()
        let empty = try await server.database()
        let settings = try PostgresSettings(url: server.url(empty))
        await examine(.database(settings), keys).expect("store", "no-schema", mend: "beckon migrate up")
        let migrations = try await PostgresMigrations(settings, logger: Self.logger)
        let steps = try await migrations.steps()
        _ = try await migrations.run(through: try #require(steps.dropLast(4).last).number)
        await examine(.database(settings), keys).expect(
            "store", "schema-older", saw: "run beckon migrate up", mend: "beckon migrate up")
        _ = try await migrations.run()
        await migrations.close()
        let good = await examine(.database(settings), keys)
        #expect(good.isPassed("store") && good.isPassed("keys"), "\(good)")
        let away = try PostgresSettings(url: "postgresql://u@127.0.0.1:1/beckon")
        let results = await Ward.examine(
            [
                Ward.role(.producer) {
                    $0.store = .database(away)
                    $0.storeKeys = keys
                }
            ], only: ["store"], patience: .seconds(1))
        results.expect("store", "unreachable", mend: "store.url")
        #expect(Report(Array(results.values)).status(isStrict: false) == 3)
    }

    @Test("max_connections that do not suffice, judged")
    func connections() throws {
        let role = Ward.role(.producer) {
            $0.store = .file("database")
            $0.storeConnections = 16
        }
        var facts = Facts(Examination([role]), nowMs: 0)
        var store = StoreFacts()
        store.connections = .init(most: 20, used: 10, ours: 0)
        facts.store = .seen(.success(store))
        guard case .found(let findings) = Doctor.verdict(try #require(Doctor.storeChecks.first), facts) else {
            Issue.record("nothing was found")
            return
        }
        #expect(findings.map(\.mistake) == ["connections"])
        #expect(findings[0].mend.contains("fewer than 16"))
    }
}
