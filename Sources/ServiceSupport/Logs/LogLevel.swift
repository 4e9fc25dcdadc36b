public import Logging
import Synchronization

/// The lowest level of the lines of this process. It can be changed while the process runs.
public final class LogLevel: Sendable {
    private static let all = Logger.Level.allCases.sorted()
    private let position: Atomic<Int>
    /// The level at the start, or of the last ``configure(_:)``.
    private let configured: Mutex<Logger.Level>

    public init(_ level: Logger.Level) {
        position = Atomic(Self.position(of: level))
        configured = Mutex(level)
    }

    /// The level in force.
    public var current: Logger.Level { Self.all[position.load(ordering: .relaxed)] }

    /// Changes the level until the next change, or until ``configure(_:)``.
    public func set(_ level: Logger.Level) { position.store(Self.position(of: level), ordering: .relaxed) }

    /// Puts the level of the configuration in force.
    public func configure(_ level: Logger.Level) {
        configured.withLock { $0 = level }
        set(level)
    }

    /// The level of the configuration.
    public var ofConfiguration: Logger.Level { configured.withLock { $0 } }

    private static func position(of level: Logger.Level) -> Int { all.firstIndex(of: level) ?? 0 }
}

/// Gives a log handler the level of the process. A logger whose own level was set writes only lines that reach both
/// levels.
public struct LevelledLogHandler: LogHandler {
    private var base: any LogHandler
    private let level: LogLevel
    private var own = Logger.Level.trace

    public init(_ base: any LogHandler, level: LogLevel) {
        self.base = base
        self.base.logLevel = .trace
        self.level = level
    }

    public var logLevel: Logger.Level {
        get { max(level.current, own) }
        set { own = newValue }
    }

    public func log(event: LogEvent) { base.log(event: event) }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { base[metadataKey: key] }
        set { base[metadataKey: key] = newValue }
    }

    public var metadata: Logger.Metadata {
        get { base.metadata }
        set { base.metadata = newValue }
    }

    public var metadataProvider: Logger.MetadataProvider? {
        get { base.metadataProvider }
        set { base.metadataProvider = newValue }
    }
}
