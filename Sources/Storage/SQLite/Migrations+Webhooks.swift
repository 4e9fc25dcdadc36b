import GRDB

extension Migrations {
    /// What the webhook relay keeps.
    static func registerWebhooks(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("11 webhook deliveries") { try $0.execute(sql: webhooks) }
    }

    private static let webhooks = """
        -- Beside a row of webhooks. health: JSON.
        CREATE TABLE webhook_endpoints (
            sid TEXT PRIMARY KEY, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL, format TEXT NOT NULL,
            health TEXT NOT NULL, secret_key_id TEXT, secret_sealed BLOB, former_key_id TEXT, former_sealed BLOB,
            former_until_ms INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX webhook_endpoints_by_service ON webhook_endpoints (service_sid);
        CREATE INDEX webhook_endpoints_by_key ON webhook_endpoints (secret_key_id, sid) WHERE secret_key_id IS NOT NULL;
        CREATE INDEX webhook_endpoints_by_former_key ON webhook_endpoints (former_key_id, sid)
            WHERE former_key_id IS NOT NULL;
        -- Events that failed. due_ms: of the first waiting event of each lane (webhook, subject); NULL behind it.
        CREATE TABLE webhook_deliveries (
            id INTEGER PRIMARY KEY AUTOINCREMENT, account_sid TEXT NOT NULL, service_sid TEXT NOT NULL,
            webhook_sid TEXT NOT NULL, subject TEXT NOT NULL, part INTEGER NOT NULL, event_id TEXT NOT NULL,
            event_type TEXT NOT NULL, event BLOB NOT NULL, traceparent TEXT, state TEXT NOT NULL, due_ms INTEGER,
            failures INTEGER NOT NULL, first_failure_ms INTEGER NOT NULL, status INTEGER NOT NULL, code INTEGER NOT NULL,
            reason TEXT NOT NULL, created_ms INTEGER NOT NULL, ended_ms INTEGER
        ) STRICT;
        CREATE UNIQUE INDEX webhook_deliveries_by_event ON webhook_deliveries (webhook_sid, event_id);
        CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_sid, id);
        CREATE INDEX webhook_deliveries_by_lane ON webhook_deliveries (webhook_sid, subject, id)
            WHERE state = 'waiting';
        CREATE INDEX webhook_deliveries_due ON webhook_deliveries (part, webhook_sid, due_ms, account_sid, service_sid)
            WHERE due_ms IS NOT NULL;
        CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_ms) WHERE ended_ms IS NOT NULL;
        CREATE TABLE webhook_attempts (
            id INTEGER PRIMARY KEY AUTOINCREMENT, webhook_sid TEXT NOT NULL, event_id TEXT NOT NULL,
            event_type TEXT NOT NULL, at_ms INTEGER NOT NULL, took_ms INTEGER NOT NULL, status INTEGER NOT NULL,
            code INTEGER NOT NULL, reason TEXT NOT NULL
        ) STRICT;
        CREATE INDEX webhook_attempts_by_webhook ON webhook_attempts (webhook_sid, id);
        CREATE INDEX webhook_attempts_by_time ON webhook_attempts (at_ms);
        """
}
