public import Logging
import Synchronization

/// Limits log lines that an attacker or a fault can cause by the thousand. One line is written per cause and span. The
/// next line gives the number of omitted lines.
public final class LimitedLog: Sendable {
    private struct Cause {
        var quietUntil: ContinuousClock.Instant
        var unsaid = 0
    }

    /// Maximum number of causes. Further causes share one.
    private static let mostCauses = 64

    private let logger: Logger
    private let span: Duration
    private let causes = Mutex<[String: Cause]>([:])

    /// - Parameter span: shortest time between two lines of the same cause. Default 1 s.
    public init(_ logger: Logger, every span: Duration = .seconds(1)) {
        self.logger = logger
        self.span = span
    }

    /// - Parameter cause: the cause of the line, in fixed words. Default: one cause for all lines.
    public func warning(_ message: Logger.Message, metadata: Logger.Metadata, cause: String = "") {
        log(.warning, message, metadata: metadata, cause: cause)
    }

    public func error(_ message: Logger.Message, metadata: Logger.Metadata, cause: String = "") {
        log(.error, message, metadata: metadata, cause: cause)
    }

    public func log(
        _ level: Logger.Level, _ message: Logger.Message, metadata: Logger.Metadata, cause: String = "",
        now: ContinuousClock.Instant = .now
    ) {
        let unsaid = causes.withLock { causes -> Int? in
            let name = causes[cause] != nil || causes.count < Self.mostCauses ? cause : ""
            if let known = causes[name], now < known.quietUntil {
                causes[name]?.unsaid += 1
                return nil
            }
            defer { causes[name] = Cause(quietUntil: now + span) }
            return causes[name]?.unsaid ?? 0
        }
        guard let unsaid else { return }
        var metadata = metadata
        if unsaid > 0 { metadata["unsaid"] = "\(unsaid)" }
        logger.log(level: level, message, metadata: metadata)
    }
}
