import CLibPQ
import Foundation

/// One connection to a server, on libpq in pipeline mode. Every wait has a deadline, after which it is closed. Used by
/// one thread at a time, which it may block.
final class PostgresLink {
    /// What is sent in a flight.
    enum Command {
        case prepare(name: String, sql: String, types: [Oid])
        case execute(name: String, values: [PostgresValue])
        /// Parsed each time.
        case query(sql: String, values: [PostgresValue])
    }

    /// An answer of ``fly(_:deadline:)`` per command, up to the first that failed.
    struct Flight {
        var results: [PostgresResult] = []
        /// Of the command behind ``results``; those behind it were not carried out.
        var failure: PostgresError?
    }

    /// The host that took the connection, by its place in the settings.
    let target: Int
    let connection: OpaquePointer
    private let notices = Notices()
    private(set) var isOpen = true
    /// Why it was closed; nil: it is open, or its owner closed it.
    private(set) var loss: PostgresError?
    /// For parameters, used again.
    private var buffer: [UInt8] = []

    /// Warnings of the server since they were asked for last.
    private final class Notices { var hasWarned = false }

    // MARK: - Connecting

    /// Tries the hosts in turn.
    /// - Parameters:
    ///   - preferred: the host to begin with.
    ///   - isStopped: true ends the attempt.
    /// - Throws: ``PostgresError`` of the last host, with what each of them said.
    static func open(
        _ settings: PostgresSettings, preferred: Int, isStopped: () -> Bool
    ) throws(PostgresError) -> PostgresLink {
        var errors: [PostgresError] = []
        for offset in settings.targets.indices where !isStopped() {
            let index = (preferred + offset) % settings.targets.count
            do throws(PostgresError) {
                return try PostgresLink(
                    settings.targets[index], index, deadline: .now + settings.connectDeadline, isStopped: isStopped)
            } catch {
                errors.append(error)
            }
        }
        guard let last = errors.last else { throw PostgresError(.connect, "the store is being closed") }
        guard errors.count > 1 else { throw last }
        let message = errors.map(\.message).joined(separator: "; ")
        throw PostgresError(.connect, state: errors.compactMap(\.state).last, message)
    }

    private init(
        _ target: PostgresSettings.Target, _ index: Int, deadline: ContinuousClock.Instant, isStopped: () -> Bool
    ) throws(PostgresError) {
        self.target = index
        let parameters = target.parameters.sorted { $0.key < $1.key }
        let started = Self.withCStrings(parameters.map(\.key)) { keys in
            Self.withCStrings(parameters.map(\.value)) { PQconnectStartParams(keys, $0, 0) }
        }
        guard let started else { throw PostgresError(.connect, "\(target.name): out of memory") }
        connection = started
        // Only so is the SQLSTATE of a refused connection in its message.
        PQsetErrorVerbosity(connection, PQERRORS_VERBOSE)
        var state = PQstatus(connection) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING
        while state != PGRES_POLLING_OK {
            guard state != PGRES_POLLING_FAILED else { throw refusal(of: target) }
            let events = Int16(state == PGRES_POLLING_READING ? POLLIN : POLLOUT)
            // In steps, so that a store that is closed does not wait.
            let step = min(deadline, .now + .milliseconds(200))
            if !wait(events, until: step) {
                guard ContinuousClock.now < deadline, !isStopped() else {
                    close()
                    throw PostgresError(.connect, "\(target.name): no connection within the deadline")
                }
                continue
            }
            state = PQconnectPoll(connection)
        }
        PQsetErrorVerbosity(connection, PQERRORS_DEFAULT)
        PQsetErrorContextVisibility(connection, PQSHOW_CONTEXT_NEVER)
        PQsetNoticeReceiver(
            connection,
            { opaque, result in
                guard let opaque, let result else { return }
                let severity = PQresultErrorField(result, BECKON_DIAG_SEVERITY).map { String(cString: $0) }
                if severity == "WARNING" {
                    Unmanaged<Notices>.fromOpaque(opaque).takeUnretainedValue().hasWarned = true
                }
            }, Unmanaged.passUnretained(notices).toOpaque())
        guard PQsetnonblocking(connection, 1) == 0, PQenterPipelineMode(connection) == 1 else {
            throw refusal(of: target)
        }
    }

    deinit { close() }

    /// Idempotent. The server undoes an open transaction.
    func close() {
        guard isOpen else { return }
        isOpen = false
        PQfinish(connection)
    }

    /// Closes it, for what its server has said.
    func abandon(_ error: PostgresError) {
        loss = loss ?? error
        close()
    }

    /// Why there is no connection, and closes what there is of it.
    private func refusal(of target: PostgresSettings.Target) -> PostgresError {
        let text = String(cString: PQerrorMessage(connection))
        close()
        // `FATAL:  53300: sorry, too many clients already`
        let state = text.firstMatch(of: #/:  ([0-9A-Z]{5}):/#).map { String($0.1) }
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("LOCATION:") && !$0.hasPrefix("DETAIL:") }
        return PostgresError(
            .connect, state: state, "\(target.name): \(lines.joined(separator: " ").trimmingPrefix("connection to "))")
    }

    private static func withCStrings<Value>(
        _ texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Value
    ) -> Value {
        let copies = texts.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        let pointers = copies.map { $0.map { UnsafePointer($0) } } + [nil]
        return pointers.withUnsafeBufferPointer { body($0.baseAddress!) }
    }

    // MARK: - Sending and receiving

    /// The descriptor to poll while nothing is under way.
    var socket: Int32 { isOpen ? PQsocket(connection) : -1 }

    /// Whether the server can still be there: reads what it has said while nothing was under way.
    func isAlive() -> Bool {
        guard isOpen else { return false }
        while wait(Int16(POLLIN), until: .now) {
            // Notices and parameters are read here, and the server's farewell.
            guard PQconsumeInput(connection) == 1, PQisBusy(connection) == 0, PQstatus(connection) == CONNECTION_OK
            else {
                _ = lost()
                return false
            }
        }
        return true
    }

    /// Whether a pooler stands between us and the server: a number of its own names the session, not that of the
    /// server's process.
    func isPooled(deadline: ContinuousClock.Instant) throws(PostgresError) -> Bool {
        let flight = try fly([.query(sql: "SELECT pg_backend_pid()", values: [])], deadline: deadline)
        if let failure = flight.failure { throw failure }
        return flight.results.first?.rows().first?.int64(0) != Int64(PQbackendPID(connection))
    }

    /// Whether the server has warned since this was asked last.
    func takeWarning() -> Bool {
        defer { notices.hasWarned = false }
        return notices.hasWarned
    }

    var isInTransaction: Bool { isOpen && PQtransactionStatus(connection) != PQTRANS_IDLE }

    /// Sends commands as one segment, and waits for all answers: one round trip.
    /// - Throws: when the link is lost, or its server does not answer in time; then it is closed.
    func fly(_ commands: [Command], deadline: ContinuousClock.Instant) throws(PostgresError) -> Flight {
        guard isOpen else { throw PostgresError(.connection, "the connection is closed") }
        for command in commands { try send(command) }
        guard PQpipelineSync(connection) == 1 else { throw lost() }
        return try receive(commands.count, deadline: deadline)
    }

    private func send(_ command: Command) throws(PostgresError) {
        let isSent: Int32
        switch command {
        case .prepare(let name, let sql, let types):
            isSent = PQsendPrepare(connection, name, sql, Int32(types.count), types)
        case .execute(let name, let values):
            isSent = with(values) { PQsendQueryPrepared(connection, name, Int32(values.count), $0, $1, $2, 1) }
        case .query(let sql, let values):
            let types = values.map(\.type)
            isSent = with(values) {
                PQsendQueryParams(connection, sql, Int32(values.count), types, $0, $1, $2, 1)
            }
        }
        guard isSent == 1 else { throw lost() }
    }

    private func with(
        _ values: [PostgresValue],
        _ body: (UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?) -> Int32
    ) -> Int32 {
        guard !values.isEmpty else { return body(nil, nil, nil) }
        buffer.removeAll(keepingCapacity: true)
        var lengths: [Int32] = []
        for value in values {
            let start = buffer.count
            value.append(to: &buffer)
            lengths.append(Int32(buffer.count - start))
        }
        // An empty value is not a null pointer.
        buffer.append(0)
        let formats = [Int32](repeating: 1, count: values.count)
        return buffer.withUnsafeBytes { bytes in
            var position = 0
            let pointers = zip(values, lengths).map { value, length -> UnsafePointer<CChar>? in
                defer { position += Int(length) }
                guard value != .null else { return nil }
                return (bytes.baseAddress! + position).assumingMemoryBound(to: CChar.self)
            }
            return body(pointers, lengths, formats)
        }
    }

    /// Until the end of the segment.
    private func receive(_ count: Int, deadline: ContinuousClock.Instant) throws(PostgresError) -> Flight {
        var flight = Flight()
        // Of the command whose answer is being read; nil: none has come.
        var last: PostgresResult?
        var answered = 0
        while true {
            // A NULL ends a command's answer. One without an answer before it is no progress, and may come once between
            // two.
            var (isStanding, wasStanding) = (false, false)
            while !isStanding, PQisBusy(connection) == 0 {
                if let pointer = PQgetResult(connection) {
                    let result = PostgresResult(pointer)
                    if result.status == PGRES_PIPELINE_SYNC {
                        guard answered == count else { throw lost(flight.failure) }
                        return flight
                    }
                    last = result
                } else if let result = last {
                    last = nil
                    answered += 1
                    take(result, into: &flight)
                    guard PQstatus(connection) == CONNECTION_OK else { throw lost(flight.failure) }
                } else {
                    guard PQstatus(connection) == CONNECTION_OK else { throw lost(flight.failure) }
                    isStanding = wasStanding
                    wasStanding = true
                }
            }
            let isUnsent = PQflush(connection)
            guard isUnsent >= 0 else { throw lost(flight.failure) }
            // Read also while we write: both sides may wait with full buffers otherwise.
            guard wait(Int16(POLLIN | (isUnsent == 1 ? POLLOUT : 0)), until: deadline) else { throw silence() }
            guard PQconsumeInput(connection) == 1 else { throw lost(flight.failure) }
        }
    }

    private func take(_ result: PostgresResult, into flight: inout Flight) {
        guard flight.failure == nil else { return }
        switch result.status {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK: flight.results.append(result)
        case PGRES_PIPELINE_ABORTED:
            flight.failure = PostgresError(.statement, state: "25P02", "an earlier statement has failed")
        default: flight.failure = error(of: result)
        }
    }

    /// What the server has refused a statement for.
    func error(of result: PostgresResult) -> PostgresError {
        let message = result.field(BECKON_DIAG_MESSAGE_PRIMARY) ?? String(cString: PQerrorMessage(connection))
        return PostgresError(
            .statement, state: result.field(BECKON_DIAG_SQLSTATE), message.trimmingCharacters(in: .newlines),
            constraint: result.field(BECKON_DIAG_CONSTRAINT_NAME))
    }

    /// The server has said nothing for too long.
    func silence() -> PostgresError {
        close()
        let silence = PostgresError(.silence, "the server has not answered within the deadline")
        loss = silence
        return silence
    }

    /// - Parameter known: what the server said before it went.
    func lost(_ known: PostgresError? = nil) -> PostgresError {
        let message = isOpen ? String(cString: PQerrorMessage(connection)) : "the connection is closed"
        close()
        let error = PostgresError(
            .connection, state: known?.state,
            known?.message ?? message.split(separator: "\n").first.map(String.init) ?? "the connection is lost")
        loss = loss ?? error
        return error
    }

    /// Waits until the socket is ready. Interrupted system calls go on.
    /// - Returns: false at the deadline.
    func wait(_ events: Int16, until deadline: ContinuousClock.Instant) -> Bool {
        while true {
            var descriptor = pollfd(fd: PQsocket(connection), events: events, revents: 0)
            let ready = poll(&descriptor, 1, deadline.pollMilliseconds)
            if ready > 0 { return true }
            if ready == 0 { return false }
            if errno != EINTR { return true }
        }
    }
}
