import ChallengeModel
import Challenges
import Crypto
import DeviceKit
import Foundation
import Logging
import NIOCore
import Storage
import Wire

/// A filled store, and whoever calls the Producer over it: one account, and a device for each identity, all with one
/// key.
struct BenchWorld: Sendable {
    /// Where the store is.
    enum Place: Sendable {
        /// A file of SQLite, made when it is missing.
        case file(String)
        /// A PostgreSQL database without tables.
        case database(PostgresSettings)

        func open(_ keys: StoreKeys, _ logger: Logger) async throws -> ChallengeStore {
            switch self {
            case .file(let path): try ChallengeStore.sqlite(path: path, keys: keys, logger: logger)
            case .database(let settings): try await ChallengeStore.postgres(settings, keys: keys, logger: logger)
            }
        }
    }

    /// Beside a database file, so that it can be used again; has its keys, so mode 0600.
    private struct Deed: Codable {
        var account: String
        var authToken: String
        var service: String
        var storeKeys: String
        var configurationKeys: String
        var recordKeys: String
        var deviceKey: SoftwareKey
        var people: Int
        var closedChallenges: Int

        var keys: StoreKeys {
            get throws {
                StoreKeys(
                    store: try KeyRing(parsing: storeKeys), configuration: try KeyRing(parsing: configurationKeys))
            }
        }
    }

    let account: AccountSID
    let service: ServiceSID
    let signer: SoftwareKey
    let recordKeys: KeyRing
    let people: Int
    /// The people who call, in no order.
    let callers: [Int]
    private let place: Place
    private let deed: Deed
    private let authorization: String

    /// Makes the store and fills it, or takes a file that is filled as asked.
    init(_ place: Place, people: Int, closedChallenges: Int, logger: Logger) async throws {
        switch place {
        case .file(let path): deed = try await Self.deed(ofFile: path, people, closedChallenges, logger)
        case .database(var settings):
            settings.connections = 1
            settings.statementDeadline = .seconds(600)
            settings.requestDeadline = .seconds(1200)
            try await Self.migrate(settings, logger)
            deed = try await Self.fill(.database(settings), people, closedChallenges, logger)
        }
        guard let account = AccountSID(deed.account), let service = ServiceSID(deed.service) else {
            throw BenchError("the file with the store's keys has no SIDs")
        }
        (self.place, self.account, self.service, self.people) = (place, account, service, people)
        signer = deed.deviceKey
        recordKeys = try KeyRing(parsing: deed.recordKeys)
        authorization = Base64.encode("\(account):\(deed.authToken)".utf8)
        callers = Array((0..<people).shuffled().prefix(Self.mostCallers))
    }

    private static func migrate(_ settings: PostgresSettings, _ logger: Logger) async throws {
        let migrations = try await PostgresMigrations(settings, logger: logger)
        let missing: Int
        do {
            let count = try await migrations.steps().count
            missing = try await migrations.run().count - count
        } catch {
            await migrations.close()
            throw error
        }
        await migrations.close()
        guard missing == 0 else { throw BenchError("\(settings) has tables already: expected an empty database") }
    }

    private static func deed(
        ofFile path: String, _ people: Int, _ closedChallenges: Int, _ logger: Logger
    ) async throws -> Deed {
        let deedPath = path + ".bench.json"
        let deed: Deed
        if FileManager.default.fileExists(atPath: path) {
            guard let data = FileManager.default.contents(atPath: deedPath) else {
                throw BenchError("\(path) exists, but \(deedPath) does not: this benchmark did not create it")
            }
            deed = try JSONDecoder().decode(Deed.self, from: data)
            guard deed.people == people, deed.closedChallenges == closedChallenges else {
                throw BenchError(
                    "\(path) has \(deed.people) factors and \(deed.closedChallenges) closed challenges: pass the same numbers"
                )
            }
        } else {
            deed = try await fill(.file(path), people, closedChallenges, logger)
            guard
                FileManager.default.createFile(
                    atPath: deedPath, contents: try JSONEncoder().encode(deed), attributes: [.posixPermissions: 0o600])
            else { throw BenchError("\(deedPath) cannot be written") }
        }
        try await settle(path, deed, logger)
        return deed
    }

    private static func fill(_ place: Place, _ people: Int, _ closed: Int, _ logger: Logger) async throws -> Deed {
        let (storeKeys, configurationKeys) = (KeyRing.random(), KeyRing.random())
        let store = try await place.open(StoreKeys(store: storeKeys, configuration: configurationKeys), logger)
        let nowMs = Timestamp.nowMs()
        let account = try await store.createAccount(nowMs: nowMs)
        let service = try await store.createService(
            NewService(account: account.sid, friendlyName: "bench"), nowMs: nowMs)
        let key = SoftwareKey()
        try await store.fill(
            StoreFill(
                account: account.sid, service: service.sid, people: people, closedChallenges: closed,
                publicKey: key.publicKeyDER), nowMs: nowMs)
        await store.close()
        return Deed(
            account: account.sid.rawValue, authToken: account.authToken, service: service.sid.rawValue,
            storeKeys: storeKeys.text, configurationKeys: configurationKeys.text, recordKeys: KeyRing.random().text,
            deviceKey: key, people: people, closedChallenges: closed)
    }

    /// Expires what an earlier run left pending and drops what it left for Kafka: neither is part of the measurement.
    private static func settle(_ path: String, _ deed: Deed, _ logger: Logger) async throws {
        let store = try await Place.file(path).open(deed.keys, logger)
        let nowMs = Timestamp.nowMs()
        while try await store.expireDue(limit: 10_000, nowMs: nowMs + 3_600_000) > 0 {}
        while true {
            let rows = try await store.outbox.claimOutbox(owner: "bench", limit: 10_000, leaseMs: 60_000, nowMs: nowMs)
            if rows.isEmpty { break }
            try await store.outbox.deleteOutbox(rows.map(\.id), owner: "bench")
        }
        await store.close()
    }

    /// A producer's.
    /// - Parameter url: of the database, as it is to reach it; nil: the store is a file.
    func environment(kafka: String, url: String?) -> [String: String] {
        var environment = [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": kafka, "BECKON_KAFKA_EMBEDDED": "true",
            "BECKON_RECORD_KEYS": deed.recordKeys, "BECKON_STORE_KEYS": deed.storeKeys,
            "BECKON_CONFIGURATION_KEYS": deed.configurationKeys, "BECKON_API_PORT": "0", "BECKON_ADMIN_PORT": "0",
            "BECKON_LOG_LEVEL": "warning",
        ]
        switch place {
        case .file(let path): environment["BECKON_STORE_PATH"] = path
        case .database(let settings):
            environment["BECKON_STORE_URL"] = url
            environment["BECKON_STORE_CONNECTIONS"] = "\(settings.connections)"
        }
        return environment
    }

    /// What a creation of this load sends to the database, made once for the first person.
    func recordCreation(nowMs: Int64) async throws -> PgbenchScript {
        guard case .database(var settings) = place else { throw BenchError("only a PostgreSQL store is compared") }
        settings.connections = 1
        let store = try await Place.database(settings).open(deed.keys, Logger(label: "beckon.bench"))
        var new = NewChallenge(
            account: account, service: service, identity: StoreFill.identity(0), factor: FactorSID(StoreFill.factor(0)),
            message: "Sign in to Bank?", expiresAtMs: nowMs + 300_000)
        new.fields = #"[{"label":"Where","value":"Berlin"}]"#
        new.hiddenDetails = #"{"ip":"10.0.0.1"}"#
        let fill = StoreFill(
            account: account, service: service, people: people, closedChallenges: 0, publicKey: signer.publicKeyDER)
        do {
            let script = try await PgbenchScript.recording(new, of: fill, in: store, nowMs: nowMs)
            await store.close()
            return script
        } catch {
            await store.close()
            throw error
        }
    }

    // MARK: - Loads

    /// Ten seconds of creations as fast as they come ask each of so many about once: nobody meets the limits per
    /// identity.
    private static let mostCallers = 100_000
    /// Those whose devices list, who have one challenge pending each.
    static let mostListers = 10_000

    /// People shared out over connections.
    private func share(_ connection: Int, _ connections: Int) -> [Int] {
        let mine = callers.indices.filter { $0 % connections == connection }.map { callers[$0] }
        return mine.isEmpty ? callers : mine
    }

    func creates(_ connections: Int) -> [any LoadScript] {
        (0..<connections).map { index in
            FixedScript(kind: "create", requests: share(index, connections).map { create(for: $0) }, expecting: 201)
        }
    }

    func lists(_ connections: Int) throws -> [any LoadScript] {
        try (0..<connections).map { index in
            // A device uses one token for many reads.
            FixedScript(
                kind: "list",
                requests: try share(index, connections).prefix(Self.mostListers / connections + 1).map {
                    try list(for: $0)
                },
                expecting: 200)
        }
    }

    func mixed(_ connections: Int) -> [any LoadScript] {
        (0..<connections).map { MixedScript(world: self, people: share($0, connections)) }
    }

    // MARK: - Requests

    static let challengeForm =
        "Details.Message=Sign+in+to+Bank%3F&Details.Fields=%7B%22label%22%3A%22Where%22%2C%22value%22%3A%22Berlin%22%7D"
        + "&HiddenDetails=%7B%22ip%22%3A%2210.0.0.1%22%7D"

    func path(_ person: Int) -> String { "/v2/Services/\(service)/Entities/\(StoreFill.identity(person))" }

    func create(for person: Int) -> ByteBuffer {
        backend(
            "POST", path(person) + "/Challenges", form: Self.challengeForm + "&FactorSid=\(StoreFill.factor(person))")
    }

    func list(for person: Int) throws -> ByteBuffer {
        try device(
            "GET", path(person) + "/Challenges?FactorSid=\(StoreFill.factor(person))&Status=pending&Order=asc",
            keyID: StoreFill.keyID(person), signer: signer)
    }

    func backend(_ method: String, _ path: String, form: String = "") -> ByteBuffer {
        Self.request(method, path, authorization, form: form)
    }

    /// With a fresh token of the device.
    func device(
        _ method: String, _ path: String, keyID: String, signer: SoftwareKey, form: String = ""
    ) throws -> ByteBuffer {
        let token = try DeviceJWT.authentication(
            keyID: keyID, accountSID: account.rawValue, nowSeconds: Timestamp.nowMs() / 1000, signer: signer)
        return bearer(token, method, path, form: form)
    }

    /// The user `token`, as devices write it.
    func bearer(_ token: String, _ method: String, _ path: String, form: String) -> ByteBuffer {
        Self.request(method, path, Base64.encode("token:\(token)".utf8), form: form)
    }

    static func request(_ method: String, _ path: String, _ basic: String, form: String) -> ByteBuffer {
        let body =
            method == "GET"
            ? "\r\n"
            : "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: \(form.utf8.count)\r\n\r\n\(form)"
        return ByteBuffer(
            string: "\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic \(basic)\r\n\(body)")
    }
}
