public import Logging
import Synchronization

/// Lines that a stranger, or an outage, can bring about by the thousand: one an interval, and the next says how many were left
/// unsaid.
public final class LimitedLog: Sendable {
    private struct State {
        var quietUntil = ContinuousClock.now
        var unsaid = 0
    }

    private let logger: Logger
    private let interval: Duration
    private let state = Mutex(State())

    /// - Parameter interval: between two lines at least.
    public init(_ logger: Logger, every interval: Duration = .seconds(1)) {
        self.logger = logger
        self.interval = interval
    }

    public func warning(_ message: Logger.Message, metadata: Logger.Metadata) {
        log(.warning, message, metadata: metadata)
    }

    public func error(_ message: Logger.Message, metadata: Logger.Metadata) {
        log(.error, message, metadata: metadata)
    }

    func log(
        _ level: Logger.Level, _ message: Logger.Message, metadata: Logger.Metadata,
        now: ContinuousClock.Instant = .now
    ) {
        let unsaid = state.withLock { state -> Int? in
            guard now >= state.quietUntil else {
                state.unsaid += 1
                return nil
            }
            defer { state.unsaid = 0 }
            state.quietUntil = now + interval
            return state.unsaid
        }
        guard let unsaid else { return }
        var metadata = metadata
        if unsaid > 0 { metadata["unsaid"] = "\(unsaid)" }
        logger.log(level: level, message, metadata: metadata)
    }
}
