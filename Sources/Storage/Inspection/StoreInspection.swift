public import ChallengeModel
import Challenges
import Foundation
import GRDB
public import Logging

/// Looks at a store beside the processes that serve it, and changes nothing: it makes no file, runs no migration and
/// notes no key, as the roles do when they open a store.
public enum StoreInspection {
    /// The number of credentials and webhooks that are read.
    public static let mostRows = 50

    /// Why a store could not be looked at.
    public enum Failure: Error, Sendable, Hashable {
        /// It did not answer; its last words.
        case unreachable(String)
        /// It answered, and let us not in or not read.
        case refused(String)
    }

    // MARK: SQLite

    /// Blocks for as long as the file is locked, 2 s at most: to be called on a thread of the caller's own.
    /// - Parameter keys: nil: whether they open what is sealed is not looked at.
    public static func file(_ path: String, keys: KeyRing?) throws(Failure) -> StoreFacts {
        var facts = StoreFacts()
        guard FileManager.default.fileExists(atPath: path) else {
            facts.schema = .absent
            return facts
        }
        facts.file = volume(path)
        do {
            var configuration = Configuration()
            configuration.readonly = true
            configuration.busyMode = .timeout(2)
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            defer { try? queue.close() }
            try queue.read { database in
                let migrator = Migrations.migrator
                if try migrator.hasBeenSuperseded(database) {
                    facts.schema = .newer("a later version of Beckon has migrated it")
                } else if try !migrator.hasCompletedMigrations(database) {
                    let done = try migrator.completedMigrations(database).count
                    facts.schema =
                        done == 0 ? .absent : .older("\(done) of \(migrator.migrations.count) migrations are done")
                } else {
                    try read(SQLiteTransaction(connection: database), path, keys, into: &facts)
                }
            }
            return facts
        } catch {
            throw .refused("\(path): \(SQLiteEngine.storeError(error).words)")
        }
    }

    private static func volume(_ path: String) -> StoreFacts.File? {
        let manager = FileManager.default
        guard let mode = (try? manager.attributesOfItem(atPath: path))?[.posixPermissions] as? NSNumber else {
            return nil
        }
        var status = statvfs()
        guard statvfs(path, &status) == 0, status.f_blocks > 0 else { return nil }
        return StoreFacts.File(
            isReadableByOthers: mode.intValue & 0o044 != 0,
            freeShare: Double(status.f_bavail) / Double(status.f_blocks),
            freeBytes: Int64(clamping: UInt64(status.f_bavail) &* UInt64(status.f_frsize)))
    }

    // MARK: PostgreSQL

    /// - Parameters:
    ///   - keys: as of ``file(_:keys:)``.
    ///   - patience: for the database to answer.
    public static func database(
        _ settings: PostgresSettings, keys: KeyRing?, patience: Duration, logger: Logger
    ) async throws(Failure) -> StoreFacts {
        var settings = settings.named("beckon-doctor")
        settings.connections = 1
        settings.connectDeadline = min(settings.connectDeadline, patience)
        let name = settings.description
        let engine: PostgresEngine
        do { engine = try PostgresEngine(settings, logger: logger) } catch { throw .refused(error.words) }
        let result: Result<StoreFacts, Failure>
        do {
            try await engine.untilReached(name: name, within: patience, logger: logger)
            do {
                result = .success(try await engine.run(.read) { try read($0, name, keys) })
            } catch {
                result = .failure(.refused("\(name): \((error as? StoreError)?.words ?? "\(error)")"))
            }
        } catch {
            result = .failure(.unreachable((error as? StoreError)?.words ?? "\(error)"))
        }
        await engine.close()
        return try result.get()
    }

    private static func read(_ connection: PostgresConnection, _ name: String, _ keys: KeyRing?) throws -> StoreFacts {
        var facts = StoreFacts()
        let (state, served) = (try PostgresSchema.state(connection), PostgresSchema.served)
        facts.connections = StoreFacts.Connections(
            most: Int(
                try connection.integer(
                    """
                    SELECT current_setting('max_connections')::bigint \
                    - current_setting('superuser_reserved_connections')::bigint
                    """)),
            // Whose sessions are other roles' shows only that they have a database.
            used: Int(
                try connection.integer("SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL")),
            ours: Int(
                try connection.integer(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = '\(PostgresSettings.application)'"))
        )
        if served.contains(state) {
            try read(PostgresTransaction(connection: connection), name, keys, into: &facts)
        } else {
            let words = PostgresSchema.unserved(state).words
            facts.schema = state == 0 ? .absent : state > served.upperBound ? .newer(words) : .older(words)
        }
        return facts
    }

    // MARK: Rows

    private static func read(
        _ rows: some SQLTransaction, _ name: String, _ keys: KeyRing?, into facts: inout StoreFacts
    ) throws {
        facts.webhooks = try rows.connection.rows(
            """
            SELECT w.sid, w.url, coalesce((SELECT max(a.took_ms) FROM (SELECT took_ms FROM webhook_attempts \
            WHERE webhook_sid = w.sid ORDER BY id DESC LIMIT 20) a), 0) FROM webhooks w WHERE w.enabled <> 0 \
            ORDER BY w.sid LIMIT \(mostRows)
            """
        ).map { StoreFacts.Webhook(sid: $0.text(0), url: $0.text(1), slowestMs: $0.int64(2)) }
        guard let keys else { return }
        facts.keyComplaint = try ChallengeStore.sealingComplaint(keys, of: name, in: rows)
        let found = try rows.connection.rows(
            "SELECT sid, account_sid, key_id, sealed FROM credentials ORDER BY sid LIMIT \(mostRows)")
        for row in found {
            let (sid, account) = (row.text(0), row.text(1))
            let sealed = SealedValue(keyID: row.text(2), bytes: row.bytes(3))
            do {
                facts.credentials.append(
                    try ChallengeStore.opened(sealed, credential: sid, of: account, keys: keys))
                facts.apps[sid] = try app(of: sid, rows)
            } catch is StoreError {
                facts.sealedCredentials.append(sid)
            }
        }
    }

    /// Of the newest device of a service that names the credential.
    private static func app(of credential: String, _ rows: some SQLTransaction) throws -> String? {
        try rows.connection.row(
            """
            SELECT f.app_id FROM factors f JOIN services s ON s.sid = f.service_sid \
            WHERE f.platform = \(Platform.apn.rawValue) AND s.apn_credential_sid = ? ORDER BY f.sid DESC LIMIT 1
            """, [credential]
        )?.text(0)
    }
}

extension StoreError {
    fileprivate var words: String {
        switch self {
        case .failed(let reason): reason
        case .unavailable(let fault): fault.detail
        default: "\(self)"
        }
    }
}
