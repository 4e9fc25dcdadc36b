import Challenges
import CoreMetrics
import Logging
import Metrics
import ServiceSupport
import Wire

/// Checks every second whether the store can write. While it cannot, the role is unready, and one log line a minute
/// gives the reason.
struct StoreWatch: Sendable {
    static let readinessCheck = "store"
    /// A clock that is further ahead is logged.
    private static let clockToleranceMs: Int64 = 1000

    let store: ChallengeStore
    let readiness: Readiness
    let log: LimitedLog
    let logger: Logger
    private let gauges: [(cause: StoreFault.Cause, gauge: Gauge)]
    /// Nil: the store is a file.
    private let connections: StoreConnectionMetrics?
    private let daysAhead: Gauge?
    private let alerts: [(result: AlertCounts.Result, counter: Counter)]
    private let nowMs: @Sendable () -> Int64

    /// - Parameter nowMs: epoch milliseconds.
    init(
        store: ChallengeStore, readiness: Readiness, logger: Logger, metrics: any MetricsFactory,
        nowMs: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }
    ) {
        self.store = store
        self.readiness = readiness
        self.logger = logger
        log = LimitedLog(logger, every: .seconds(60))
        self.nowMs = nowMs
        connections = store.connections.map { _ in StoreConnectionMetrics(factory: metrics) }
        daysAhead = store.connections.map { _ in
            Gauge(label: ProducerMetricName.storeDaysAhead.rawValue, factory: metrics)
        }
        alerts = AlertCounts.Result.allCases.map { result in
            let label = ProducerMetricName.alerts.rawValue
            return (result, Counter(label: label, dimensions: [("result", result.rawValue)], factory: metrics))
        }
        gauges = StoreFault.Cause.allCases.map { cause in
            let label = ProducerMetricName.storeFault.rawValue
            return (cause, Gauge(label: label, dimensions: [("cause", cause.rawValue)], factory: metrics))
        }
    }

    /// Runs until cancelled.
    func run(every interval: Duration = .seconds(1)) async {
        var looks = 0
        while !Task.isCancelled {
            await look()
            // It changes once a day.
            if looks % 60 == 0 { await lookAtDays() }
            looks += 1
            try? await Task.sleep(for: interval)
        }
    }

    func lookAtDays() async {
        guard let daysAhead else { return }
        do {
            if let days = try await store.daysAhead(nowMs: nowMs()) { daysAhead.record(days) }
        } catch {
            logger.debug("the days ahead cannot be read", metadata: ["error": "\(error)"])
        }
    }

    func look() async {
        // Perhaps no other caller writes at the moment, so a probe is needed.
        if store.fault != nil { await store.probe() }
        let fault = store.fault
        let alertCounts = store.takeAlertCounts()
        for (result, counter) in alerts { counter.increment(by: alertCounts[result]) }
        if let counted = store.connections { connections?.record(counted) }
        if store.clockAheadMs > Self.clockToleranceMs {
            log.warning(
                """
                this machine's clock is ahead of the database server's: its challenges expire too early for whoever asks \
                this producer; synchronize both clocks
                """, metadata: ["milliseconds": "\(store.clockAheadMs)"], cause: "clock")
        }
        for (cause, gauge) in gauges { gauge.record(cause == fault?.cause ? 1 : 0) }
        guard let fault else {
            if readiness.reasons[Self.readinessCheck] != nil { logger.info("the store can write again") }
            return readiness.pass(Self.readinessCheck)
        }
        readiness.fail(Self.readinessCheck, "the store cannot write: \(fault.advice)")
        log.error(
            "the store cannot write; requests that change something get 503",
            metadata: [
                "cause": "\(fault.cause.rawValue)", "error": "\(fault.detail)", "advice": "\(fault.advice)",
            ], cause: fault.cause.rawValue)
    }
}

extension StoreFault {
    var advice: String {
        switch cause {
        case .locked: "another process holds its lock: stop that process, or wait for it"
        case .diskFull: "the disk is full: free disk space"
        case .readOnly:
            "the file, its disk or the database server is read-only: give the producer write access, or name the primary"
        case .failing: "\(detail)"
        case .unreachable: "the database takes no connections: \(detail)"
        }
    }
}

/// Logs refusals of the store, one line a minute per message. Faults that ``StoreWatch`` reports are not logged again.
struct StoreLog: Sendable {
    private let logger: Logger
    private let log: LimitedLog

    init(_ logger: Logger) {
        self.logger = logger
        log = LimitedLog(logger, every: .seconds(60))
    }

    func warning(_ message: StaticString, _ error: any Error) { say(.warning, message, error) }
    func error(_ message: StaticString, _ error: any Error) { say(.error, message, error) }

    private func say(_ level: Logger.Level, _ message: StaticString, _ error: any Error) {
        let metadata: Logger.Metadata = ["error": "\(error)"]
        if case .unavailable = error as? StoreError {
            return logger.debug("\(message)", metadata: metadata)
        }
        log.log(level, "\(message)", metadata: metadata, cause: "\(message)")
    }
}
