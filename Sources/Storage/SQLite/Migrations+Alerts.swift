import GRDB

extension Migrations {
    /// Step 15: steps 13 and 14 are PostgreSQL's alone.
    static func registerAlerts(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("15 alerts") { try $0.execute(sql: alerts) }
    }

    private static let alerts = """
        -- cause and number: the alerts of one cause are counted. details: JSON.
        CREATE TABLE alerts (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT, resource_sid TEXT NOT NULL,
            level TEXT NOT NULL, code INTEGER NOT NULL, text TEXT NOT NULL, details TEXT NOT NULL, count INTEGER NOT NULL,
            created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, cause TEXT NOT NULL, number INTEGER NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX alerts_by_cause ON alerts (account_sid, cause, number);
        CREATE INDEX alerts_by_account ON alerts (account_sid, sid);
        CREATE INDEX alerts_recent ON alerts (account_sid, created_ms);
        CREATE INDEX alerts_by_time ON alerts (created_ms);
        -- Where the alerts of an account are posted to. sid: in the place of a webhook's.
        CREATE TABLE debuggers (
            account_sid TEXT PRIMARY KEY, sid TEXT NOT NULL, url TEXT NOT NULL, created_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        -- Webhooks whose receivers must consent.
        CREATE TABLE webhook_consents (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX webhook_consents_by_service ON webhook_consents (service_sid);
        """
}
