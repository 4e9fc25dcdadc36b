import GRDB

extension Migrations {
    /// The keys that the store is sealed with, roles of API keys, wrong numbers, versions of credentials, marks of
    /// refusals.
    static func registerHardening(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("10 sealing keys, roles, wrong numbers, versions, refusals") {
            try $0.execute(sql: hardening)
        }
    }

    private static let hardening = """
        -- Keys that a value may be sealed under. proof: a text of ours, sealed under the key; NULL: not known yet.
        CREATE TABLE sealing_keys (key_id TEXT PRIMARY KEY, proof BLOB) STRICT, WITHOUT ROWID;
        INSERT INTO sealing_keys (key_id) SELECT token_key_id FROM accounts
            UNION SELECT former_key_id FROM accounts WHERE former_key_id IS NOT NULL
            UNION SELECT key_id FROM credentials UNION SELECT key_id FROM code_factors
            UNION SELECT number_key_id FROM challenges WHERE number_key_id IS NOT NULL;
        CREATE INDEX code_factors_by_key ON code_factors (key_id);
        CREATE INDEX challenges_by_number_key ON challenges (number_key_id) WHERE number_key_id IS NOT NULL;
        -- Keys of role send keep what they could do before role enrol was split off it.
        UPDATE api_keys SET role = 'send+enrol' WHERE role = 'send';
        -- When wrong numbers were typed lately, with commas between.
        ALTER TABLE entities ADD COLUMN wrong_numbers TEXT NOT NULL DEFAULT '';
        ALTER TABLE factors ADD COLUMN wrong_numbers TEXT NOT NULL DEFAULT '';
        -- Of the records on topic configuration. One that was deleted has a version too, behind all of its records.
        ALTER TABLE credentials ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
        CREATE TABLE deleted_credentials (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, version INTEGER NOT NULL, deleted_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        -- Holds nothing between two transactions.
        CREATE TABLE write_probes (id INTEGER PRIMARY KEY, filler BLOB NOT NULL) STRICT;
        -- Of a refusal: the client's address, and how many of its kind the mark stands for. detail: JSON.
        ALTER TABLE audit_events ADD COLUMN address TEXT;
        ALTER TABLE audit_events ADD COLUMN count INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE audit_events ADD COLUMN detail TEXT;
        """
}
