import Challenges
import GRDB

/// The schema, as numbered steps that are never changed once released. Tables are STRICT, so that a column holds what
/// its reader expects. Tables of wide rows have a rowid; SIDs are ordered by time, so that their index grows at its
/// end.
enum Migrations {
    /// Brings the schema up to date.
    /// - Throws: ``StoreError/failed(_:)`` for a store that a later version has migrated: what this one would write
    ///   there, or leave
    ///   out, nobody has thought of; and when a Producer serves it that does not know the steps to come.
    static func run(on pool: DatabasePool, file: StoreFile) throws {
        let migrator = migrator
        let (isLater, isDone) = try pool.read {
            (try migrator.hasBeenSuperseded($0), try migrator.hasCompletedMigrations($0))
        }
        guard !isLater else {
            throw StoreError.failed(
                """
                the store \(file.path) was migrated by a later version of Beckon, and this one would damage it: use that version \
                or a later one, or restore a copy of the store from before the upgrade
                """)
        }
        guard !isDone else { return }
        // A producer of this version that starts beside a tool migrates first, and then serves.
        let isMigrated = { (try? pool.read { try migrator.hasCompletedMigrations($0) }) ?? false }
        try file.whileNobodyElseServes(unless: isMigrated) { try migrator.migrate(pool) }
    }

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 accounts, services, credentials") { try $0.execute(sql: accounts) }
        migrator.registerMigration("2 entities, access tokens, factors") { try $0.execute(sql: people) }
        migrator.registerMigration("3 challenges") { try $0.execute(sql: challenges) }
        migrator.registerMigration("4 outbox") { try $0.execute(sql: outbox) }
        migrator.registerMigration("5 accounts and keys") { try $0.execute(sql: accountsAndKeys) }
        registerCodes(in: &migrator)
        registerPolicies(in: &migrator)
        registerDelivery(in: &migrator)
        migrator.registerMigration("9 outbox claims, audit filters") { try $0.execute(sql: outboxClaims) }
        registerHardening(in: &migrator)
        registerWebhooks(in: &migrator)
        registerSilence(in: &migrator)
        registerAlerts(in: &migrator)
        return migrator
    }

    private static let accounts = """
        CREATE TABLE accounts (
            sid TEXT PRIMARY KEY, token_key_id TEXT NOT NULL, token_sealed BLOB NOT NULL, created_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE services (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, friendly_name TEXT NOT NULL, include_date INTEGER NOT NULL,
            apn_credential_sid TEXT, fcm_credential_sid TEXT, settings TEXT NOT NULL, created_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX services_by_account ON services (account_sid, sid);
        CREATE INDEX services_deleted ON services (sid) WHERE deleted = 1;
        CREATE TABLE credentials (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, type TEXT NOT NULL, friendly_name TEXT NOT NULL,
            sandbox INTEGER NOT NULL, key_id TEXT NOT NULL, sealed BLOB NOT NULL, created_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX credentials_by_account ON credentials (account_sid, sid);
        """

    private static let people = """
        CREATE TABLE entities (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, identity TEXT NOT NULL,
            identity_key TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX entities_by_identity ON entities (service_sid, identity_key);
        CREATE INDEX entities_by_service ON entities (service_sid, sid);
        -- Entities that are gone and whose closed challenges still have to go.
        CREATE TABLE entity_purges (entity_sid TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
        CREATE TABLE access_tokens (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, identity TEXT NOT NULL,
            identity_key TEXT NOT NULL, friendly_name TEXT, ttl_seconds INTEGER NOT NULL, secret_hash BLOB NOT NULL UNIQUE,
            expires_ms INTEGER NOT NULL, factors INTEGER NOT NULL DEFAULT 0, spent INTEGER NOT NULL DEFAULT 0,
            created_ms INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX access_tokens_by_expiry ON access_tokens (expires_ms);
        CREATE TABLE factors (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, entity_sid TEXT NOT NULL,
            identity TEXT NOT NULL, friendly_name TEXT NOT NULL, verified INTEGER NOT NULL, public_key BLOB NOT NULL,
            key_id TEXT NOT NULL UNIQUE, platform INTEGER NOT NULL, push_token TEXT, app_id TEXT NOT NULL,
            environment INTEGER NOT NULL, sdk_version TEXT, notifications_enabled INTEGER, metadata TEXT,
            access_token_sid TEXT, registered_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
            revision INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX factors_by_entity ON factors (entity_sid, sid);
        CREATE UNIQUE INDEX factors_by_key ON factors (entity_sid, public_key);
        CREATE INDEX factors_unverified ON factors (created_ms) WHERE verified = 0;
        CREATE INDEX factors_by_access_token ON factors (access_token_sid) WHERE verified = 0;
        -- Background pushes promised to a device: Apple allows two or three an hour.
        CREATE TABLE background_grants (
            factor_sid TEXT NOT NULL, granted_ms INTEGER NOT NULL, challenge_sid TEXT NOT NULL,
            PRIMARY KEY (factor_sid, granted_ms, challenge_sid)
        ) STRICT, WITHOUT ROWID;
        """

    private static let challenges = """
        CREATE TABLE challenges (
            id INTEGER PRIMARY KEY, sid TEXT NOT NULL UNIQUE, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL,
            entity_sid TEXT NOT NULL, identity TEXT NOT NULL, factor_sid TEXT, message TEXT NOT NULL, fields TEXT NOT NULL,
            hidden_details TEXT, include_date INTEGER NOT NULL, expires_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL, responded_ms INTEGER, status TEXT NOT NULL, responder_sid TEXT, signed_answer TEXT,
            metadata TEXT, fallbacks TEXT NOT NULL, redelivery BLOB NOT NULL, request_id TEXT,
            notifications INTEGER NOT NULL DEFAULT 0, traceparent TEXT
        ) STRICT;
        CREATE INDEX challenges_by_entity ON challenges (entity_sid, sid);
        CREATE INDEX challenges_by_expiry ON challenges (expires_ms) WHERE status = 'pending';
        CREATE INDEX challenges_live ON challenges (entity_sid, sid) WHERE status = 'pending';
        CREATE TABLE challenge_targets (
            challenge_sid TEXT NOT NULL, factor_sid TEXT NOT NULL, background_budget INTEGER NOT NULL,
            polled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (challenge_sid, factor_sid)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE request_ids (
            account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, request_id TEXT NOT NULL, challenge_sid TEXT NOT NULL,
            created_ms INTEGER NOT NULL, PRIMARY KEY (account_sid, service_sid, request_id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX request_ids_by_time ON request_ids (created_ms);
        """

    /// A free row has the owner '' and the lease 0. The counter row makes the number of rows a look-up: the relay asks
    /// for it every second, also when a million rows wait.
    private static let outbox = """
        CREATE TABLE outbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
            content_type TEXT NOT NULL, expires_ms INTEGER, traceparent TEXT, created_ms INTEGER NOT NULL,
            lease_owner TEXT NOT NULL DEFAULT '', lease_until_ms INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX outbox_by_lease ON outbox (lease_owner, lease_until_ms, id);
        CREATE INDEX outbox_dispatches ON outbox (id) WHERE topic = 'challenges';
        CREATE TABLE outbox_count (id INTEGER PRIMARY KEY, rows INTEGER NOT NULL) STRICT;
        INSERT INTO outbox_count (id, rows) VALUES (1, 0);
        CREATE TRIGGER outbox_added AFTER INSERT ON outbox BEGIN
            UPDATE outbox_count SET rows = rows + 1 WHERE id = 1;
        END;
        CREATE TRIGGER outbox_removed AFTER DELETE ON outbox BEGIN
            UPDATE outbox_count SET rows = rows - 1 WHERE id = 1;
        END;
        """

    /// Leases by ranges of ids in place of a mark on every row; the counter is brought up to date once per transaction,
    /// through the highest id given out.
    private static let outboxClaims = """
        DROP TRIGGER outbox_added;
        DROP TRIGGER outbox_removed;
        DROP INDEX outbox_by_lease;
        ALTER TABLE outbox DROP COLUMN lease_owner;
        ALTER TABLE outbox DROP COLUMN lease_until_ms;
        CREATE TABLE outbox_claims (
            first_id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL, owner TEXT NOT NULL, until_ms INTEGER NOT NULL
        ) STRICT;
        ALTER TABLE outbox_count ADD COLUMN through_id INTEGER NOT NULL DEFAULT 0;
        UPDATE outbox_count SET through_id = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)
        WHERE id = 1;
        CREATE INDEX audit_events_by_actor ON audit_events (account_sid, actor, id);
        CREATE INDEX audit_events_by_subject ON audit_events (account_sid, subject, id);
        """
}
