/// The tables of step 15. See SQLite's step 15 for the meaning of columns.
extension PostgresSchema {
    private static let key = #"text COLLATE "C""#

    static let alerts = [
        """
        CREATE TABLE alerts (
            sid \(key) PRIMARY KEY, account_sid \(key) NOT NULL, service_sid \(key), resource_sid \(key) NOT NULL,
            level \(key) NOT NULL, code bigint NOT NULL, text text NOT NULL, details text NOT NULL, count bigint NOT NULL,
            created_ms bigint NOT NULL, updated_ms bigint NOT NULL, cause \(key) NOT NULL, number bigint NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX alerts_by_cause ON alerts (account_sid, cause, number)",
        "CREATE INDEX alerts_by_account ON alerts (account_sid, sid)",
        "CREATE INDEX alerts_recent ON alerts (account_sid, created_ms)",
        "CREATE INDEX alerts_by_time ON alerts (created_ms)",
        """
        CREATE TABLE debuggers (
            account_sid \(key) PRIMARY KEY, sid \(key) NOT NULL, url text NOT NULL, created_ms bigint NOT NULL,
            updated_ms bigint NOT NULL
        )
        """,
        """
        CREATE TABLE webhook_consents (
            sid \(key) PRIMARY KEY, account_sid \(key) NOT NULL, service_sid \(key) NOT NULL
        )
        """,
        "CREATE INDEX webhook_consents_by_service ON webhook_consents (service_sid)",
    ]
}
