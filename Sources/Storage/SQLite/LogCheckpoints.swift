import GRDB
import GRDBSQLite
import Synchronization

/// Copies the write-ahead log back into the file beside the writer, not on its thread: SQLite's own checkpoint would
/// stop every creation for as long as 32 MB and an fsync take.
///
/// A log that is written to all the time never is copied to its end by another connection, and only then starts again
/// at its beginning. So there are two steps: most of it from a connection of our own, then, between two commits, the
/// few frames that came meanwhile on the writer's.
final class LogCheckpoints: Sendable {
    private enum Step { case waiting, copying, copied }

    private struct State {
        var step = Step.waiting
        /// Frames from which the next checkpoint starts.
        var threshold = LogCheckpoints.pages
    }

    /// What SQLite calls back with after each commit.
    private final class LogLength: Sendable {
        let frames = Atomic(0)
    }

    /// Frames of a page each: 32 MB. Fewer, and the same pages are copied many times a second.
    static let pages = 8000
    private let length = LogLength()
    private let state = Mutex(State())
    private let connection: DatabaseQueue

    /// - Parameter configuration: of the store's connections.
    init(path: String, configuration: Configuration) throws {
        connection = try DatabaseQueue(path: path, configuration: configuration)
        // A connection that has read nothing does not know yet that there is a log.
        _ = try connection.read { try Row.fetchOne($0, sql: "SELECT 1 FROM sqlite_master LIMIT 1") }
    }

    /// Takes SQLite's own checkpoints away. On the writer's connection, which must end before this object does.
    func watch(_ writer: Database) {
        sqlite3_wal_hook(
            writer.sqliteConnection,
            { context, _, _, frames in
                if let context {
                    Unmanaged<LogLength>.fromOpaque(context).takeUnretainedValue().frames.store(
                        Int(frames), ordering: .relaxed)
                }
                return SQLITE_OK
            }, Unmanaged.passUnretained(length).toOpaque())
    }

    /// After each commit, on the writer's thread, outside of a transaction.
    func committed(_ writer: Database) {
        let frames = length.frames.load(ordering: .relaxed)
        let (starts, ends) = state.withLock { state -> (Bool, Bool) in
            switch state.step {
            case .waiting where frames >= state.threshold:
                state.step = .copying
                return (true, false)
            case .copied: return (false, true)
            default: return (false, false)
            }
        }
        if starts {
            connection.asyncWriteWithoutTransaction { [self] database in
                // What fails here is done by the writer.
                _ = try? database.checkpoint(.passive)
                state.withLock { $0.step = .copied }
            }
        } else if ends {
            let result = try? writer.checkpoint(.passive)
            let isWhole = result.map { $0.walFrameCount == $0.checkpointedFrameCount } ?? false
            state.withLock { state in
                state.step = .waiting
                // A reader that is still at work: not again at once.
                state.threshold = isWhole ? Self.pages : frames + Self.pages / 4
            }
        }
    }

    func close() throws { try connection.close() }
}
