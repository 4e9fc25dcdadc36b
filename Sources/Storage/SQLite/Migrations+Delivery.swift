import GRDB

extension Migrations {
    /// What became of pushes; dead push tokens and refused credentials.
    static func registerDelivery(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("8 delivery") { try $0.execute(sql: delivery) }
    }

    private static let delivery = """
        CREATE TABLE delivery_facts (
            challenge_sid TEXT NOT NULL, id TEXT NOT NULL, fact BLOB NOT NULL, PRIMARY KEY (challenge_sid, id)
        ) STRICT, WITHOUT ROWID;
        -- The last request that a device signed, and since when its push token is dead.
        ALTER TABLE factors ADD COLUMN signed_ms INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE factors ADD COLUMN unreachable_ms INTEGER;
        ALTER TABLE factors ADD COLUMN unreachable_credential_sid TEXT;
        -- When to look whether the factor goes.
        ALTER TABLE factors ADD COLUMN purge_ms INTEGER;
        CREATE INDEX factors_unreachable ON factors (unreachable_credential_sid, unreachable_ms)
            WHERE unreachable_credential_sid IS NOT NULL;
        CREATE INDEX factors_purge ON factors (purge_ms) WHERE purge_ms IS NOT NULL;
        -- Visible pushes per minute: accepted, and refused because the provider does not know the token at all.
        CREATE TABLE credential_minutes (
            credential_sid TEXT NOT NULL, minute INTEGER NOT NULL, accepted INTEGER NOT NULL, unknown INTEGER NOT NULL,
            PRIMARY KEY (credential_sid, minute)
        ) STRICT, WITHOUT ROWID;
        -- Kind `dying` or `failed`; last: of what it is made of; accepted: a push, since.
        CREATE TABLE credential_incidents (
            credential_sid TEXT NOT NULL, kind TEXT NOT NULL, since_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
            accepted_ms INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (credential_sid, kind)
        ) STRICT, WITHOUT ROWID;
        """
}
