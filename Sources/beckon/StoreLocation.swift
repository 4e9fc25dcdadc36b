import Challenges
import Foundation
import Logging
import ServiceSupport
import Storage

/// Where the store of a role or a command is.
enum StoreLocation: Sendable {
    case file(String)
    case database(PostgresSettings)

    /// - Throws: `SettingsError` when neither `store.url` nor `store.path` is set, both are, or the URL is not right.
    init(_ settings: Settings) throws {
        let path = try settings.optional(Settings.storePath)
        switch (try settings.optional(Settings.storeURL), path) {
        case (nil, let path?): self = .file(path)
        case (let url?, nil):
            self = try Self(
                url, password: settings.optional(Settings.storePassword),
                connections: settings(Settings.storeConnections))
        case (nil, nil):
            throw SettingsError(
                "store.url is missing: set --store-url, BECKON_STORE_URL or store.url in the configuration file to "
                    + "sqlite:///path or postgresql://user@host/database, or --store-path to the path of a SQLite file")
        default: throw SettingsError("store.url and store.path are both set: expected one of them")
        }
    }

    /// - Parameter name: of the setting or flag that has the URL, for messages.
    init(_ url: String, password: String?, connections: Int, name: String = "store.url") throws {
        if url.hasPrefix("sqlite://") {
            guard let path = String(url.dropFirst("sqlite://".count)).removingPercentEncoding, path.hasPrefix("/")
            else {
                throw SettingsError(
                    "\(name): expected an absolute path behind sqlite://, sqlite:///var/lib/beckon.db")
            }
            self = .file(path)
            return
        }
        do throws(StoreError) {
            var database = try PostgresSettings(url: url, password: password)
            guard try !PostgresSettings(url: url).holdsPassword else {
                throw .failed(
                    "the URL holds a password, which other users and logs can see: set BECKON_STORE_PASSWORD, or passfile=… in the URL"
                )
            }
            database.connections = connections
            self = .database(database)
        } catch {
            if case .failed(let reason) = error { throw SettingsError("\(name): \(reason)") }
            throw SettingsError("\(name): \(error)")
        }
    }

    /// For messages: without secrets.
    var name: String {
        switch self {
        case .file(let path): path
        case .database(let settings): settings.description
        }
    }

    /// That names such a store.
    var flag: String {
        switch self {
        case .file: "--store-path"
        case .database: "--store-url"
        }
    }

    /// Opens the store as commands do: beside producers, on few connections.
    func openBeside(_ settings: Settings, logger: Logger) async throws -> ChallengeStore {
        let keys = StoreKeys(
            store: try settings(Settings.storeKeys), configuration: try settings(Settings.configurationKeys))
        switch self {
        case .file(let path): return try ChallengeStore.sqlite(path: path, keys: keys, logger: logger)
        case .database(var database):
            database.connections = min(database.connections, 2)
            return try await ChallengeStore.postgres(database, keys: keys, wait: .seconds(5), logger: logger)
        }
    }

    /// Opens the store for a role that runs beside producers: a webhook relay, or a console.
    /// - Parameter connections: of a PostgreSQL database at most; nil: as many as are set.
    func openToRelay(
        _ settings: Settings, connections: Int? = nil, logger: Logger
    ) async throws -> ChallengeStore {
        // Such a role seals nothing for topic configuration.
        let ring = try settings(Settings.storeKeys)
        let keys = StoreKeys(store: ring, configuration: ring)
        switch self {
        case .file(let path): return try ChallengeStore.sqlite(path: path, keys: keys, logger: logger)
        case .database(var database):
            database.connections = min(database.connections, connections ?? .max)
            return try await ChallengeStore.postgres(database, keys: keys, logger: logger)
        }
    }

    /// Opens the store as a producer does.
    func openToServe(_ settings: Settings, logger: Logger) async throws -> ChallengeStore {
        let keys = StoreKeys(
            store: try settings(Settings.storeKeys), configuration: try settings(Settings.configurationKeys))
        let retentionDays = try settings(Settings.storeRetention)
        let (limits, brake) = (try ChallengeLimits(settings), try TokenBrake(settings))
        let entityCreationsPerSecond = try settings(Settings.entitiesPerSecond)
        switch self {
        case .file(let path):
            return try ChallengeStore.sqlite(
                path: path, keys: keys, retentionDays: retentionDays, limits: limits, brake: brake,
                entityCreationsPerSecond: entityCreationsPerSecond, isServing: true, logger: logger)
        case .database(let database):
            return try await ChallengeStore.postgres(
                database, keys: keys, retentionDays: retentionDays, limits: limits, brake: brake,
                entityCreationsPerSecond: entityCreationsPerSecond, logger: logger)
        }
    }
}
