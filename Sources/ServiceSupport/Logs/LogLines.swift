import Logging
import Synchronization

/// Counts the lines that this process writes to its log.
enum LogLines {
    /// The level names, from the least to the most severe.
    static let levels = Logger.Level.allCases.map(\.rawValue)
    private static let counts = Mutex([Int](repeating: 0, count: Logger.Level.allCases.count))
    private static let positions = Dictionary(
        uniqueKeysWithValues: Logger.Level.allCases.enumerated().map { ($1, $0) })

    static func add(_ level: Logger.Level) {
        guard let position = positions[level] else { return }
        counts.withLock { $0[position] += 1 }
    }

    /// - Parameter position: in ``levels``.
    static func count(_ position: Int) -> Int { counts.withLock { $0[position] } }
}
