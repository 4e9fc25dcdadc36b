import GRDB

extension Migrations {
    /// The policies of services, what challenges need for them, and the limits against push bombing.
    static func registerPolicies(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("7 policies") { try $0.execute(sql: policies) }
    }

    private static let policies = """
        ALTER TABLE services ADD COLUMN hms_credential_sid TEXT;
        ALTER TABLE services ADD COLUMN webpush_credential_sid TEXT;
        -- JSON of what differs from the defaults; NULL: nothing does.
        ALTER TABLE services ADD COLUMN policy TEXT;
        -- When creations of the identity would be unlimited again; the last denials' times with commas between; until when
        -- nothing is pushed; when a reached limit was last told.
        ALTER TABLE entities ADD COLUMN creations_ms INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE entities ADD COLUMN denials TEXT NOT NULL DEFAULT '';
        ALTER TABLE entities ADD COLUMN quiet_until_ms INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE entities ADD COLUMN limit_told_ms INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE challenges ADD COLUMN action_key TEXT;
        -- What a device knows the action by.
        ALTER TABLE challenges ADD COLUMN action_id TEXT;
        ALTER TABLE challenges ADD COLUMN number_digits INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE challenges ADD COLUMN number_key_id TEXT;
        ALTER TABLE challenges ADD COLUMN number_sealed BLOB;
        ALTER TABLE challenges ADD COLUMN wrong_numbers INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE challenges ADD COLUMN session_required INTEGER NOT NULL DEFAULT 0;
        -- Its creation was not pushed, because the identity was quiet until then.
        ALTER TABLE challenges ADD COLUMN quiet_until_ms INTEGER;
        -- The public key that the signed answer is good under: the factor may go, the evidence stays.
        ALTER TABLE challenges ADD COLUMN responder_key BLOB;
        -- One live challenge per action, whatever the code does.
        CREATE UNIQUE INDEX challenges_by_action ON challenges (entity_sid, action_key)
            WHERE status = 'pending' AND action_key IS NOT NULL;
        -- Committed with the challenge that the request made.
        CREATE TABLE idempotency_keys (
            key_hash BLOB PRIMARY KEY, request_hash BLOB NOT NULL, challenge_sid TEXT NOT NULL, created_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_ms);
        -- challenge_sid: the one challenge that it is good for, once it was used.
        CREATE TABLE session_tokens (
            secret_hash BLOB PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, entity_sid TEXT NOT NULL,
            factor_sid TEXT, challenge_sid TEXT, expires_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX session_tokens_by_expiry ON session_tokens (expires_ms);
        """
}
