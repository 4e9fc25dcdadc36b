import ChallengeModel
import Metrics
import PushGateway
import PushProviders
import Synchronization

/// Creates each metric once.
final class DispatcherMetrics: Sendable {
    private let factory: any MetricsFactory
    private let counters = Mutex<[String: Counter]>([:])
    private let gauges = Mutex<[String: Gauge]>([:])
    private let pushCounters = Mutex<[Int: Counter]>([:])
    let waited: Metrics.Timer
    private let took: [Platform: Metrics.Timer]
    private let accepted: [Platform: Metrics.Timer]

    init(factory: any MetricsFactory) {
        self.factory = factory
        waited = Metrics.Timer(label: DispatcherMetricName.waited.rawValue, dimensions: [], factory: factory)
        func timers(_ name: DispatcherMetricName) -> [Platform: Metrics.Timer] {
            Dictionary(
                uniqueKeysWithValues: PushProviders.all.map { provider in
                    let labels = [("provider", provider.word)]
                    return (provider.platform, Timer(label: name.rawValue, dimensions: labels, factory: factory))
                })
        }
        took = timers(.pushDuration)
        accepted = timers(.acceptedAfter)
    }

    func count(_ name: DispatcherMetricName, _ dimensions: [(String, String)] = [], by amount: Int = 1) {
        let key = dimensions.reduce(into: name.rawValue) { $0 += "|" + $1.1 }
        let counter = counters.withLock { counters in
            counters[key]
                ?? {
                    let counter = Counter(label: name.rawValue, dimensions: dimensions, factory: factory)
                    counters[key] = counter
                    return counter
                }()
        }
        counter.increment(by: amount)
    }

    func set(_ name: DispatcherMetricName, _ value: Double, _ dimensions: [(String, String)] = []) {
        let key = dimensions.reduce(into: name.rawValue) { $0 += "|" + $1.1 }
        let gauge = gauges.withLock { gauges in
            gauges[key]
                ?? {
                    let gauge = Gauge(label: name.rawValue, dimensions: dimensions, factory: factory)
                    gauges[key] = gauge
                    return gauge
                }()
        }
        gauge.record(value)
    }

    /// Adds the changes in the push gateway's counters since `before`, the last values that were reported.
    func transport(_ now: PushGatewayStatistics, since before: PushGatewayStatistics) {
        for (platform, circuits) in now.openCircuitsByProvider {
            set(.openCircuits, Double(circuits), [("provider", platform.word ?? "other")])
        }
        for (platform, limit) in now.inFlightLimits {
            set(.inFlightLimit, Double(limit), [("provider", platform.word ?? "other")])
        }
        let counters: [(DispatcherMetricName, KeyPath<TransportStatistics, Int>)] = [
            (.connectionsOpened, \.connectionsOpened), (.connectionsLost, \.connectionsLost),
            (.connectFailures, \.connectFailures), (.goaways, \.goaways), (.resends, \.resends),
            (.timeouts, \.timeouts),
        ]
        for (platform, transport) in now.transport {
            let labels = [("provider", platform.word ?? "other")]
            set(.connections, Double(transport.connections), labels)
            let last = before.transport[platform] ?? TransportStatistics()
            for (name, field) in counters {
                count(name, labels, by: max(0, transport[keyPath: field] - last[keyPath: field]))
            }
        }
    }

    /// This runs on the hot path, so it creates no text.
    func answered(_ push: AnsweredPush) {
        let (platform, kind, disposition) = (push.platform, push.kind, push.disposition)
        if let milliseconds = push.tookMs { took[platform]?.recordMilliseconds(milliseconds) }
        if let milliseconds = push.acceptedAfterMs { accepted[platform]?.recordMilliseconds(milliseconds) }
        let key = platform.rawValue << 8 | kind.rawValue << 4 | disposition.rawValue
        let counter = pushCounters.withLock { counters in
            counters[key]
                ?? {
                    let counter = Counter(
                        label: DispatcherMetricName.pushes.rawValue,
                        dimensions: [
                            ("provider", platform.word ?? "other"),
                            ("kind", kind == .background ? "background" : "visible"),
                            ("disposition", disposition.metricLabel),
                        ], factory: factory)
                    counters[key] = counter
                    return counter
                }()
        }
        counter.increment()
    }

    func dropped(_ reason: DropReason) { count(.dropped, [("reason", reason.word)]) }
}

extension Disposition {
    var metricLabel: String {
        switch self {
        case .accepted: "accepted"
        case .rejected: "rejected"
        case .tokenDead: "token-dead"
        case .deferred: "deferred"
        case .credentialFault: "credential-fault"
        case .unknown: "unknown"
        case .dropped: "dropped"
        case .unspecified, .UNRECOGNIZED: "other"
        }
    }
}
