import Challenges

/// Which server a connection reaches.
struct PostgresIdentity: Sendable, Hashable {
    /// Of the cluster, the same on its standbys.
    let system: String
    /// A promoted standby begins a new one.
    let timeline: String

    static let columns = """
        (SELECT system_identifier::text FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8)
        """

    init(system: String, timeline: String) {
        self.system = system
        self.timeline = timeline
    }

    fileprivate init(_ row: PostgresRow) { self.init(system: row.text(0), timeline: row.text(1)) }

    /// - Returns: nil when the server does not tell the role.
    static func of(_ link: PostgresLink, deadline: ContinuousClock.Instant) throws(PostgresError) -> PostgresIdentity? {
        let flight = try link.fly([.query(sql: "SELECT \(columns)", values: [])], deadline: deadline)
        return flight.failure == nil ? flight.results.first?.rows().first.map { PostgresIdentity($0) } : nil
    }
}

/// A transaction whose COMMIT was sent and not answered.
struct UnknownCommit: Sendable, Hashable {
    /// Its id as the server gave it out.
    let id: String
    /// When it began, by the server's clock. Epoch microseconds.
    let startedUs: Int64
    /// Nil: nobody can be asked.
    let server: PostgresIdentity?
}

/// What became of one.
enum CommitFate: Sendable, Equatable {
    case committed
    case aborted
    /// The old session is still at it.
    /// - Parameter waitsForStandby: it is committed here, and no synchronous standby has confirmed it.
    case open(waitsForStandby: Bool)
    /// - Parameter reason: why it cannot be told.
    case unknown(String)
}

extension PostgresConnection {
    /// Asks what became of a transaction of another connection.
    ///
    /// `committed` is believed of a server process that was there before the transaction began, only: after a crash the
    /// server gives out ids again of which nothing had reached its disk, and the id may be another's. Nothing is
    /// believed of another timeline: ids were given out anew there from where the old one was copied to.
    /// - Throws: ``PostgresError``.
    func fate(of commit: UnknownCommit, deadline: ContinuousClock.Instant) throws -> CommitFate {
        guard let server = commit.server else { return .unknown("the server does not tell its identity") }
        let rows: [PostgresRow]
        do {
            rows = try alone(
                """
                SELECT \(PostgresIdentity.columns), coalesce(pg_xact_status(?::xid8), ''), \
                (extract(epoch FROM backend_start) * 1000000)::bigint, current_setting('synchronous_standby_names'), \
                (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                AND backend_xid::text::bigint = ?::bigint % 4294967296) \
                FROM pg_stat_activity WHERE pid = pg_backend_pid()
                """, [.text(commit.id), .text(commit.id)], deadline: deadline)
        } catch let error as PostgresError where error.state == "22023" {
            // "is in the future": a crash took it, and its id was not given out again. Of this server only.
            // Asked again: behind a pooler it may be another server than at first.
            return try PostgresIdentity.of(link, deadline: deadline) == server
                ? .aborted : .unknown("another server answers")
        }
        guard let row = rows.first else { return .unknown("the server does not tell its sessions") }
        guard PostgresIdentity(row) == server else { return .unknown("another server answers, or a promoted standby") }
        switch row.text(2) {
        case "aborted": return .aborted
        case "in progress": return .open(waitsForStandby: row.int64(5) > 0)
        case "committed":
            guard row.int64(3) < commit.startedUs else { return .unknown("the server has restarted meanwhile") }
            if !row.text(4).isEmpty {
                begin(.read, deadline: deadline)
                defer { rollBack() }
                try awaitStandby()
            }
            return .committed
        default: return .unknown("the server has forgotten the transaction")
        }
    }

    /// Ends the old session of a transaction that its server believes to be open, unless it waits for a standby: then
    /// it is committed and may not be told so yet.
    func endSession(of commit: UnknownCommit, deadline: ContinuousClock.Instant) throws {
        _ = try alone(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid::text::bigint = ?::bigint % 4294967296 \
            AND wait_event IS DISTINCT FROM 'SyncRep'
            """, [.text(commit.id)], deadline: deadline)
    }

    /// Returns when a synchronous standby has everything that this session could see before. Ends a transaction that
    /// reads: the standby is waited for at the end of a transaction that commits, which this one begins.
    /// - Throws: ``PostgresError``, also when the server stops waiting for its standby.
    func awaitStandby() throws {
        readAnew()
        _ = link.takeWarning()
        _ = try rows("SELECT pg_logical_emit_message(true, 'beckon', '')::text", [])
        if link.takeWarning() { throw PostgresError(.connection, "the server does not wait for its standby") }
    }
}
