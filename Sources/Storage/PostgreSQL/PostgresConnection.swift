import Challenges

/// A connection and the transaction on it: what the verbs of ``PostgresTransaction`` ask. Writes wait for the next read
/// or the COMMIT and go in one round trip with it. Used by one thread at a time.
///
/// The first error ends the transaction: every later statement throws it again, also when the one that met it has
/// caught it.
final class PostgresConnection: SQLConnection {
    static let dialect = SQLDialect.postgres

    enum Mode: Sendable {
        /// READ COMMITTED: a statement sees what was committed when it began, so that a row that was locked is seen as
        /// it is.
        case write
        /// One state of the database for all statements: one statement, without a transaction around it, or a snapshot
        /// for several. Where there comes a second one unforeseen, it throws ``NeedsSnapshot``.
        case read
    }

    /// A body whose first statement was its only one until now: it begins again, in a snapshot.
    struct NeedsSnapshot: Error {}

    /// The COMMIT was sent, and its answer is not known.
    struct CommitLost: Error {
        let commit: UnknownCommit
        let cause: PostgresError
    }

    private struct Statement: Hashable {
        let sql: String
        let values: [PostgresValue]

        init(_ sql: String, _ values: [PostgresValue] = []) {
            self.sql = sql
            self.values = values
        }
    }

    /// What a verb is left with while its reads are collected.
    private struct Collected: Error {}

    private static let beginWrite = Statement("BEGIN ISOLATION LEVEL READ COMMITTED")
    private static let beginSnapshot = Statement("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    /// So that a lost COMMIT can be asked for.
    private static let identify = Statement(
        "SELECT pg_current_xact_id()::text, (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint")
    /// Writes that wait at most.
    private static let queueBound = 1000

    let link: PostgresLink
    /// What the server is; nil: it does not say.
    let server: PostgresIdentity?
    let openedAt = ContinuousClock.now
    /// The transaction has written rows of the outbox.
    private(set) var addsOutboxRows = false
    /// The tables of step 15 were seen.
    var keepsAlerts = false
    /// The first error of the transaction.
    private(set) var failure: (any Error)?

    private let statementDeadline: Duration
    private var statements = PostgresStatements()
    private var mode: Mode?
    private var requestDeadline = ContinuousClock.now
    private var queue: [Statement] = []
    private var isBegun = false
    private var transaction: (id: String, startedUs: Int64)?
    private var kept: [Statement: [PostgresRow]] = [:]
    private var collecting: [Statement]?
    /// The only statement so far, run without a transaction.
    private var onlyRead: String?
    /// First statements of bodies that read more than once.
    private var firstOfMore: Set<String> = []
    /// For measurements: gets the statements of every round trip before they are sent.
    var recorder: (([(sql: String, values: [PostgresValue])]) -> Void)?

    /// - Throws: ``PostgresError``.
    init(_ link: PostgresLink, statementDeadline: Duration) throws {
        self.link = link
        self.statementDeadline = statementDeadline
        let isPooled = try link.isPooled(deadline: .now + statementDeadline)
        // A pooler's other clients would get the settings too, and nothing is planned for later there.
        if !isPooled { try Self.settle(link, deadline: .now + statementDeadline) }
        server = try PostgresIdentity.of(link, deadline: .now + statementDeadline)
        statements.sharesSessions = isPooled
    }

    /// Statements are planned once per connection, and never so that they read a whole table: a table that is empty
    /// when a plan is made may have a million rows an hour later. `PostgresStatementTests` sees to it that each has
    /// such a plan. Planning each time costs as much as the statement itself, where a table is in many partitions.
    private static func settle(_ link: PostgresLink, deadline: ContinuousClock.Instant) throws(PostgresError) {
        let flight = try link.fly(
            [
                .query(
                    sql: """
                        SELECT set_config('plan_cache_mode', 'force_generic_plan', false), \
                        set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)
                        """, values: [])
            ], deadline: deadline)
        if let failure = flight.failure { throw failure }
    }

    var isOpen: Bool { link.isOpen }

    /// The server's number of the transaction that writes; nil: nothing has been sent yet.
    var transactionNumber: Int64? { transaction.flatMap { Int64($0.id) } }

    // MARK: - A transaction's life

    func begin(_ mode: Mode, deadline: ContinuousClock.Instant) {
        self.mode = mode
        requestDeadline = deadline
        addsOutboxRows = false
        onlyRead = nil
        queue = mode == .write ? [Self.beginWrite] : []
        isBegun = false
        transaction = nil
        kept = [:]
        collecting = nil
        failure = nil
    }

    /// Ends a transaction that has written.
    /// - Throws: ``CommitLost``, and what kept the transaction from being committed.
    func commit() throws {
        if let failure { throw failure }
        // Nothing was asked, and nothing is to be written.
        guard isBegun || queue.count > 1 else { return end() }
        if transaction == nil { try flush() }
        _ = link.takeWarning()
        let results: [PostgresResult]
        do {
            results = try exchange(queue + [Statement("COMMIT")], deadline: .now + statementDeadline)
        } catch let error as PostgresError where error.origin != .statement {
            guard let transaction else { throw error }
            failure = error
            throw CommitLost(
                commit: UnknownCommit(id: transaction.id, startedUs: transaction.startedUs, server: server),
                cause: error)
        } catch {
            failure = error
            throw error
        }
        if let command = results.last?.command, command != "COMMIT" {
            throw PostgresError(.statement, state: "25P02", "the server answered \(command) to COMMIT")
        }
        if link.takeWarning(), let transaction {
            // It is committed here, and the server has stopped waiting for its standby.
            throw CommitLost(
                commit: UnknownCommit(id: transaction.id, startedUs: transaction.startedUs, server: server),
                cause: PostgresError(.connection, "the server warned at COMMIT"))
        }
        end()
    }

    /// Undoes what was done, or ends a snapshot. Closes the connection when that is not possible.
    func rollBack() {
        defer { end() }
        guard isBegun, link.isOpen, link.isInTransaction else { return }
        do {
            _ = try exchange([Statement("ROLLBACK")], deadline: .now + statementDeadline)
        } catch {
            link.close()
        }
        if link.isInTransaction { link.close() }
    }

    /// Ends a transaction that reads and begins another, so that its first statement is one by itself again.
    func readAnew() {
        precondition(mode == .read, "a transaction that writes ends with its COMMIT")
        let deadline = requestDeadline
        rollBack()
        begin(.read, deadline: deadline)
    }

    func forgetStatements() { statements.forgetAll() }

    private func end() {
        mode = nil
        queue = []
        kept = [:]
        transaction = nil
        isBegun = false
    }

    // MARK: - Statements

    func run(_ sql: String, _ arguments: Arguments) throws { try run(sql, Self.values(arguments)) }
    func changes(_ sql: String, _ arguments: Arguments) throws -> Int { try changes(sql, Self.values(arguments)) }
    func rows(_ sql: String, _ arguments: Arguments) throws -> [PostgresRow] { try rows(sql, Self.values(arguments)) }
    func row(_ sql: String, _ arguments: Arguments) throws -> PostgresRow? { try rows(sql, arguments).first }

    func run(_ sql: String, _ values: [PostgresValue]) throws {
        try willWrite(sql)
        queue.append(Statement(sql, values))
        if queue.count > Self.queueBound { try flush() }
    }

    func changes(_ sql: String, _ values: [PostgresValue]) throws -> Int {
        try willWrite(sql)
        return try ask([Statement(sql, values)])[0].changes
    }

    /// A statement that changes rows and returns some.
    func returning(_ sql: String, _ values: [PostgresValue]) throws -> [PostgresRow] {
        try willWrite(sql)
        return try ask([Statement(sql, values)])[0].rows()
    }

    /// Runs a `COPY … FROM STDIN`, behind what was written before.
    /// - Parameter parts: in the statement's format, one behind the other.
    func copyIn(_ sql: String, _ parts: [[UInt8]]) throws {
        try willWrite(sql)
        if !isBegun || !queue.isEmpty { try flush() }
        do { try link.copyIn(sql, parts, patience: statementDeadline) } catch {
            failure = error
            throw error
        }
    }

    /// Runs a `COPY … TO STDOUT` by itself.
    /// - Parameter take: is lent what comes, piece by piece.
    func copyOut(_ sql: String, _ take: (UnsafeRawBufferPointer) throws -> Void) throws {
        do { try link.copyOut(sql, patience: statementDeadline, take) } catch {
            failure = error
            throw error
        }
    }

    func rows(_ sql: String, _ values: [PostgresValue]) throws -> [PostgresRow] {
        let read = Statement(sql, values)
        if collecting != nil {
            collecting?.append(read)
            throw Collected()
        }
        if let failure { throw failure }
        if !kept.isEmpty, let rows = kept[read] { return rows }
        return try ask([read])[0].rows()
    }

    func prefetch(_ reads: () -> Void) throws {
        // Of another one's reads.
        guard collecting == nil else { return reads() }
        if let failure { throw failure }
        collecting = []
        reads()
        let asked = collecting ?? []
        collecting = nil
        var wanted: [Statement] = []
        for read in asked where kept[read] == nil && !wanted.contains(read) { wanted.append(read) }
        guard !wanted.isEmpty else { return }
        for (read, result) in zip(wanted, try ask(wanted)) { kept[read] = result.rows() }
    }

    private static func values(_ arguments: Arguments) throws -> [PostgresValue] {
        try arguments.checked().map { PostgresValue($0) }
    }

    private func willWrite(_ sql: String) throws {
        guard collecting == nil else { throw Collected() }
        if let failure { throw failure }
        precondition(mode == .write, "a statement that writes, in a transaction that reads")
        if !addsOutboxRows { addsOutboxRows = sql.hasPrefix("INSERT INTO outbox ") }
        if !kept.isEmpty { kept = [:] }
    }

    private func flush() throws { _ = try ask([]) }

    /// Sends what waits and these, and returns the answers to these.
    private func ask(_ statements: [Statement]) throws -> ArraySlice<PostgresResult> {
        do {
            if mode == .read, !isBegun { try beginRead(statements) }
            let isFirst = !isBegun && mode == .write
            // Behind BEGIN.
            if isFirst { queue.insert(Self.identify, at: 1) }
            let sent = queue + statements
            queue = []
            isBegun = isBegun || onlyRead == nil
            let results = try exchange(sent)
            if isFirst {
                let row = results[1].rows()[0]
                transaction = (row.text(0), row.int64(1))
            }
            return ArraySlice(results.suffix(statements.count).map { $0 })
        } catch {
            failure = error
            throw error
        }
    }

    private func beginRead(_ statements: [Statement]) throws {
        if let onlyRead {
            if firstOfMore.count < PostgresStatements.bound { firstOfMore.insert(onlyRead) }
            throw NeedsSnapshot()
        }
        if statements.count == 1, !firstOfMore.contains(statements[0].sql) {
            onlyRead = statements[0].sql
        } else {
            queue = [Self.beginSnapshot]
        }
    }

    /// One round trip.
    /// - Throws: ``PostgresError``.
    private func exchange(_ sent: [Statement], deadline: ContinuousClock.Instant? = nil) throws -> [PostgresResult] {
        recorder?(sent.map { ($0.sql, $0.values) })
        var commands: [PostgresLink.Command] = []
        var isPreparation: [Bool] = []
        for statement in sent {
            switch statements.use(statement.sql, statement.values) {
            case .prepared(let name): commands.append(.execute(name: name, values: statement.values))
            case .prepare(let name, let sql, let types):
                commands.append(.prepare(name: name, sql: sql, types: types))
                isPreparation.append(true)
                commands.append(.execute(name: name, values: statement.values))
            case .unnamed(let sql): commands.append(.query(sql: sql, values: statement.values))
            }
            isPreparation.append(false)
        }
        let flight = try link.fly(commands, deadline: deadline ?? min(requestDeadline, .now + statementDeadline))
        if let failure = flight.failure {
            for command in commands[flight.results.count...] {
                if case .prepare(let name, _, _) = command { statements.forget(name) }
            }
            throw failure
        }
        return zip(flight.results, isPreparation).compactMap { $1 ? nil : $0 }
    }
}

extension PostgresConnection {
    /// Statements without a transaction, beside those of a body.
    func alone(_ sql: String, _ values: [PostgresValue] = [], deadline: ContinuousClock.Instant) throws -> [PostgresRow]
    {
        begin(.read, deadline: deadline)
        defer { rollBack() }
        return try rows(sql, values)
    }
}
