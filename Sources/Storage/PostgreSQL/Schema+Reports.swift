/// The views of step 13, for who looks at the database and changes nothing: dashboards, reports, support. They leave
/// out what is sealed or secret, what a message says, and who a person is. Their names stay when tables change.
extension PostgresSchema {
    static let reports = [
        view(
            "challenges", from: "challenges",
            """
            sid, account_sid, service_sid, entity_sid, factor_sid, responder_sid, status, created_ms, updated_ms, expires_ms,
            responded_ms, notifications, number_digits, wrong_numbers, session_required
            """),
        view(
            "entities", from: "entities",
            "sid, account_sid, service_sid, created_ms, updated_ms, creations_ms, quiet_until_ms, limit_told_ms"),
        view(
            "factors", from: "factors",
            """
            sid, account_sid, service_sid, entity_sid, verified, platform, app_id, environment, sdk_version,
            notifications_enabled, registered_ms, created_ms, updated_ms, signed_ms, unreachable_ms,
            silent
            """),
        view("services", from: "services", "sid, account_sid, friendly_name, created_ms, updated_ms, deleted"),
        view(
            "credentials", from: "credentials",
            "sid, account_sid, type, friendly_name, sandbox, created_ms, updated_ms, version"),
        view("credential_minutes", from: "credential_minutes", "credential_sid, minute, slot, accepted, unknown"),
        view(
            "credential_incidents", from: "credential_incidents", "credential_sid, kind, since_ms, last_ms, accepted_ms"
        ),
        view(
            "audit_events", from: "audit_events",
            "id, sid, account_sid, at_ms, actor, action, subject, traffic, count"),
        view(
            "webhook_deliveries", from: "webhook_deliveries",
            """
            id, account_sid, service_sid, webhook_sid, event_type, state, due_ms, failures, first_failure_ms, status, code,
            created_ms, ended_ms
            """),
        view("outbox", from: "outbox", "id, lane, topic, expires_ms, created_ms"),
        view("outbox_lanes", from: "outbox_lanes", "lane, owner, until_ms, epoch"),
        view("partition_days", from: "partition_days", "family, day_ms"),
    ]

    /// A view of some columns, as `report_` and its name.
    private static func view(_ name: String, from table: String, _ columns: String) -> String {
        "CREATE VIEW report_\(name) AS SELECT \(columns) FROM \(table)"
    }
}
