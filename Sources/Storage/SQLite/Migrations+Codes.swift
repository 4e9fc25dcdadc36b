import GRDB

extension Migrations {
    /// Factors of type `totp`, what their limits count, and webhook subscriptions.
    static func registerCodes(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("6 one-time codes, webhooks") { try $0.execute(sql: codes) }
    }

    private static let codes = """
        CREATE TABLE code_factors (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, entity_sid TEXT NOT NULL,
            identity TEXT NOT NULL, friendly_name TEXT NOT NULL, verified INTEGER NOT NULL, algorithm TEXT NOT NULL,
            time_step INTEGER NOT NULL, code_length INTEGER NOT NULL, skew INTEGER NOT NULL, metadata TEXT,
            created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, key_id TEXT NOT NULL, sealed BLOB NOT NULL,
            used_step INTEGER NOT NULL DEFAULT -1, attempts INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX code_factors_by_entity ON code_factors (entity_sid, sid);
        CREATE INDEX code_factors_unverified ON code_factors (created_ms) WHERE verified = 0;
        -- Wrong codes per challenge.
        CREATE TABLE code_attempts (
            challenge_sid TEXT PRIMARY KEY, attempts INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        -- Challenges made of a factor in the last day, at most 100.
        CREATE TABLE code_creations (
            factor_sid TEXT NOT NULL, created_ms INTEGER NOT NULL, challenge_sid TEXT NOT NULL,
            PRIMARY KEY (factor_sid, created_ms, challenge_sid)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX code_creations_by_time ON code_creations (created_ms);
        -- Factors of any type made for an identity in the last day, at most 100.
        CREATE TABLE factor_creations (
            entity_sid TEXT NOT NULL, created_ms INTEGER NOT NULL, factor_sid TEXT NOT NULL,
            PRIMARY KEY (entity_sid, created_ms, factor_sid)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX factor_creations_by_time ON factor_creations (created_ms);
        CREATE TABLE webhooks (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, friendly_name TEXT NOT NULL,
            event_types TEXT NOT NULL, url TEXT NOT NULL, enabled INTEGER NOT NULL, version TEXT NOT NULL,
            created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX webhooks_by_service ON webhooks (service_sid, sid);
        """
}
