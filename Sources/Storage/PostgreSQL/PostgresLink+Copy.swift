import CLibPQ
import Foundation

/// COPY, for which a connection leaves its pipeline: libpq has no COPY inside of one.
extension PostgresLink {
    /// Sends at a time, so that little waits in libpq.
    private static let piece = 64 << 10

    /// Runs a `COPY … FROM STDIN`.
    /// - Parameters:
    ///   - parts: in the statement's format, one behind the other.
    ///   - patience: for each sign of life of the server.
    func copyIn(_ sql: String, _ parts: [[UInt8]], patience: Duration) throws(PostgresError) {
        try start(sql, PGRES_COPY_IN, patience)
        for part in parts {
            var offset = 0
            while offset < part.count {
                let count = min(Self.piece, part.count - offset)
                let sent = part.withUnsafeBytes { bytes in
                    PQputCopyData(
                        connection, bytes.baseAddress?.advanced(by: offset).assumingMemoryBound(to: CChar.self),
                        Int32(count))
                }
                guard sent >= 0 else { throw lost() }
                // 0: there was no room.
                if sent == 1 { offset += count }
                try flush(patience)
            }
        }
        while true {
            let ended = PQputCopyEnd(connection, nil)
            guard ended >= 0 else { throw lost() }
            try flush(patience)
            if ended == 1 { break }
        }
        try end(patience)
    }

    /// Runs a `COPY … TO STDOUT`.
    /// - Parameters:
    ///   - patience: for each sign of life of the server.
    ///   - take: is lent what comes, piece by piece. When it throws, the connection is closed.
    func copyOut(
        _ sql: String, patience: Duration, _ take: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        try start(sql, PGRES_COPY_OUT, patience)
        while true {
            var pointer: UnsafeMutablePointer<CChar>?
            let count = PQgetCopyData(connection, &pointer, 1)
            switch count {
            case 1...:
                defer { PQfreemem(pointer) }
                do { try take(UnsafeRawBufferPointer(start: pointer, count: Int(count))) } catch {
                    close()
                    throw error
                }
            case 0: try read(patience)
            // What became of it is in its result.
            case -1: return try end(patience)
            default: throw lost()
            }
        }
    }

    /// Sends the statement and waits until rows may go.
    private func start(_ sql: String, _ status: ExecStatusType, _ patience: Duration) throws(PostgresError) {
        guard isOpen else { throw PostgresError(.connection, "the connection is closed") }
        guard PQexitPipelineMode(connection) == 1, PQsendQuery(connection, sql) == 1 else { throw lost() }
        try flush(patience)
        guard let result = try next(patience) else { throw lost() }
        guard result.status == status else {
            let refusal = error(of: result)
            while try next(patience) != nil {}
            try enterPipeline()
            throw refusal
        }
    }

    /// Waits for the statement's end.
    private func end(_ patience: Duration) throws(PostgresError) {
        var refusal: PostgresError?
        while let result = try next(patience) {
            if result.status != PGRES_COMMAND_OK, refusal == nil { refusal = error(of: result) }
        }
        guard PQstatus(connection) == CONNECTION_OK else { throw lost(refusal) }
        try enterPipeline()
        if let refusal { throw refusal }
    }

    private func enterPipeline() throws(PostgresError) {
        guard PQenterPipelineMode(connection) == 1 else { throw lost() }
    }

    /// Nil: the statement has no more results.
    private func next(_ patience: Duration) throws(PostgresError) -> PostgresResult? {
        while PQisBusy(connection) == 1 { try read(patience) }
        return PQgetResult(connection).map { PostgresResult($0) }
    }

    private func read(_ patience: Duration) throws(PostgresError) {
        guard wait(Int16(POLLIN), until: .now + patience) else { throw silence() }
        guard PQconsumeInput(connection) == 1 else { throw lost() }
    }

    /// Returns when everything is on its way. Reads meanwhile: the server may have something to say.
    private func flush(_ patience: Duration) throws(PostgresError) {
        while true {
            switch PQflush(connection) {
            case 0: return
            case 1:
                guard wait(Int16(POLLIN | POLLOUT), until: .now + patience) else { throw silence() }
                guard PQconsumeInput(connection) == 1 else { throw lost() }
            default: throw lost()
            }
        }
    }
}
