extension Migrations {
    /// API keys, a second auth token, the audit trail, device tokens that were used.
    static let accountsAndKeys = """
        ALTER TABLE accounts ADD COLUMN former_key_id TEXT;
        ALTER TABLE accounts ADD COLUMN former_sealed BLOB;
        ALTER TABLE accounts ADD COLUMN former_until_ms INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE api_keys (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, role TEXT NOT NULL, friendly_name TEXT NOT NULL,
            secret_hash BLOB NOT NULL, created_ms INTEGER NOT NULL, revoked_ms INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX api_keys_by_account ON api_keys (account_sid, sid);
        -- Ids ascend with the time of the change. Traffic (challenges, access tokens) is kept for a shorter time than the rest.
        CREATE TABLE audit_events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, sid TEXT NOT NULL, account_sid TEXT NOT NULL, at_ms INTEGER NOT NULL,
            actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, request_id TEXT, traffic INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX audit_events_by_account ON audit_events (account_sid, id);
        CREATE INDEX audit_events_lasting ON audit_events (at_ms) WHERE traffic = 0;
        CREATE INDEX audit_events_traffic ON audit_events (at_ms) WHERE traffic = 1;
        CREATE TABLE device_requests (
            fingerprint BLOB PRIMARY KEY, request BLOB NOT NULL, expires_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX device_requests_by_expiry ON device_requests (expires_ms);
        """
}
