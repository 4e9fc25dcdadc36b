/// A table that `store copy` fills, and where its rows come from. Columns are not listed: they are those of the target,
/// and a column of the source that no column of the target takes is an error. So a later step of the schema is copied
/// too, or refused.
struct CopiedTable: Sendable {
    /// On the target, and on the source unless ``source`` names another table.
    let name: String
    /// Columns of a key that is unique on the source: rows are copied in its order. Both databases compare them by
    /// their bytes.
    let key: [String]
    /// Tables of the source behind `FROM`, with a `WHERE` where not all of their rows are meant.
    let source: String
    /// Expressions of the source for columns that have another name there, or none.
    let expressions: [String: String]
    /// Columns of the source that the target does without.
    let leftOut: Set<String>
    /// Ids that the target draws itself must be higher than every id that the source has given out.
    let drawsIDs: Bool

    init(
        _ name: String, key: [String] = ["sid"], from source: String? = nil, expressions: [String: String] = [:],
        leftOut: Set<String> = [], drawsIDs: Bool = false
    ) {
        self.name = name
        self.key = key
        self.source = source ?? name
        self.expressions = expressions
        self.leftOut = leftOut
        self.drawsIDs = drawsIDs
    }

    static let all = [
        CopiedTable("accounts"),
        CopiedTable("sealing_keys", key: ["key_id"]),
        CopiedTable("api_keys"),
        CopiedTable("services"),
        CopiedTable("webhooks"),
        CopiedTable("webhook_endpoints"),
        CopiedTable("webhook_consents"),
        CopiedTable("debuggers", key: ["account_sid"]),
        CopiedTable("alerts"),
        CopiedTable("credentials"),
        CopiedTable("deleted_credentials"),
        // A file has one writer, and no slots for several.
        CopiedTable("credential_minutes", key: ["credential_sid", "minute"], expressions: ["slot": "0"]),
        CopiedTable("credential_incidents", key: ["credential_sid", "kind"]),
        CopiedTable("entities"),
        CopiedTable("entity_purges", key: ["entity_sid"]),
        CopiedTable("access_tokens"),
        CopiedTable("session_tokens", key: ["secret_hash"]),
        CopiedTable("device_requests", key: ["fingerprint"]),
        CopiedTable("factors"),
        CopiedTable("background_grants", key: ["factor_sid", "granted_ms", "challenge_sid"]),
        CopiedTable("factor_creations", key: ["entity_sid", "created_ms", "factor_sid"]),
        CopiedTable("code_factors"),
        CopiedTable("code_creations", key: ["factor_sid", "created_ms", "challenge_sid"]),
        CopiedTable("challenges", leftOut: ["id"]),
        CopiedTable("challenge_targets", key: ["challenge_sid", "factor_sid"]),
        CopiedTable("delivery_facts", key: ["challenge_sid", "id"]),
        CopiedTable("code_attempts", key: ["challenge_sid"]),
        // On SQLite a unique index of challenges.
        CopiedTable(
            "live_actions", key: ["entity_sid", "action_key"],
            from: """
                (SELECT entity_sid, action_key, sid AS challenge_sid FROM challenges \
                WHERE status = 'pending' AND action_key IS NOT NULL)
                """),
        CopiedTable("request_ids", key: ["account_sid", "service_sid", "request_id"]),
        CopiedTable("idempotency_keys", key: ["key_hash"]),
        CopiedTable("audit_events", key: ["id"], drawsIDs: true),
        CopiedTable("outbox", key: ["id"], expressions: ["lane": "outbox_lane(key)"], drawsIDs: true),
        CopiedTable("webhook_deliveries", key: ["id"], drawsIDs: true),
        CopiedTable("webhook_attempts", key: ["id"], drawsIDs: true),
    ]

    /// Tables of the source without rows to copy: who holds what of the outbox and how many rows it has, and the
    /// bookkeeping of SQLite and GRDB.
    static let ofSourceOnly: Set<String> = [
        "grdb_migrations", "outbox_claims", "outbox_count", "sqlite_sequence", "sqlite_stat1", "sqlite_stat4",
        "write_probes",
    ]

    /// Tables of the target that hold rows of its own, beside the partitions.
    static let ofTargetOnly: Set<String> = [
        "outbox_lanes", "outbox_owners", "partition_days", "schema_steps", "store_copies", "write_probes",
    ]

    /// The columns that say on which day a row is, by the family of its partitions.
    static let days: [(family: String, table: String, column: String, condition: String)] = [
        ("challenges", "challenges", "sid", ""), ("challenges", "challenge_targets", "challenge_sid", ""),
        ("challenges", "delivery_facts", "challenge_sid", ""), ("challenges", "code_attempts", "challenge_sid", ""),
        ("audit", "audit_events", "at_ms", "traffic = 1 AND "),
    ]
}

/// A column of the target.
struct CopiedColumn: Sendable, Hashable {
    enum Kind: Int64, Sendable {
        // Object ids of the types, from PostgreSQL's `pg_type.dat`.
        case blob = 17
        case long = 20
        case short = 21
        case text = 25
    }

    let name: String
    let kind: Kind
}
