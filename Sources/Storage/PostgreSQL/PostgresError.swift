import Challenges

/// What went wrong between us and the server, without any value of a statement.
struct PostgresError: Error, Sendable, CustomStringConvertible {
    enum Origin: Sendable, Hashable {
        /// The server's answer to a statement.
        case statement
        /// A connection could not be made.
        case connect
        /// The connection is gone.
        case connection
        /// The server has not answered in time, and the connection is closed.
        case silence
    }

    let origin: Origin
    /// Five characters; nil: libpq or we found it.
    let state: String?
    let message: String
    /// The constraint that a row would break.
    let constraint: String?

    init(_ origin: Origin, state: String? = nil, _ message: String, constraint: String? = nil) {
        self.origin = origin
        self.state = state
        self.message = message
        self.constraint = constraint
    }

    /// The primary messages of class 22 repeat values.
    var description: String {
        let words = state?.hasPrefix("22") == true ? "a value that its column does not take" : message
        return "PostgreSQL \(state ?? "connection"): \(words)" + (constraint.map { " (\($0))" } ?? "")
    }

    /// What to do about it.
    enum Remedy: Sendable, Equatable {
        /// The transaction again, on the same connection: it met another.
        case again
        /// The transaction again, as long as its caller waits: somebody holds a lock.
        case againWhileTimeLasts
        /// The transaction again, with its statements prepared anew.
        case prepareAgain
        /// The connection is gone; the transaction again on another, unless its COMMIT was sent.
        case reconnect
        /// The server is a demoted primary: no connection that is older than this one is good either.
        case leaveServer
        /// The caller is told, and may ask again.
        case refuse(StoreError)
        /// As ``refuse(_:)``, and the store says so to its operator.
        case fault(StoreFault)
    }

    /// The table of `docs/operations.md`, "PostgreSQL".
    var remedy: Remedy {
        guard let state else {
            return switch origin {
            case .statement: .refuse(.failed(description))
            case .silence: .refuse(.busy)
            case .connect, .connection: .reconnect
            }
        }
        switch state {
        // Found when it ran beside another; one that runs alone finds the other's row.
        case "40001", "40P01", "23505": return .again
        case "55P03": return .againWhileTimeLasts
        case "26000", "0A000", "42P05": return .prepareAgain
        case "57014": return .refuse(.busy)
        case "25006": return .leaveServer
        case "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300": return .reconnect
        case "53100": return .fault(StoreFault(.diskFull, detail: description))
        default: break
        }
        switch state.prefix(2) {
        case "08": return .reconnect
        case "53", "58", "XX": return .fault(StoreFault(.failing, detail: description))
        default: return origin == .statement ? .refuse(.failed(description)) : .reconnect
        }
    }

    /// Why the database cannot be used, of an error that has closed a connection or kept one from being made.
    var fault: StoreFault {
        if case .fault(let fault) = remedy { return fault }
        // libpq has no code for a server that is not as `target_session_attrs` demands.
        let isReadOnly = state == "25006" || message.contains("session is read-only") || message.contains("hot standby")
        return StoreFault(isReadOnly ? .readOnly : .unreachable, detail: description)
    }
}
