import Metrics

/// The names of the listeners' metrics; each has the label `listener`.
public enum EdgeMetricName: String, CaseIterable, Sendable {
    /// Gauge: open connections.
    case open = "beckon_http_connections"
    /// Gauge: maximum number of open connections.
    case limit = "beckon_http_connections_limit"
    /// Counter: refused connections, by `reason` (`full`: all connections have a request in progress; `client`: the
    /// address has reached its share).
    case refused = "beckon_http_connections_refused_total"
    /// Counter: connections that were closed early, by `reason` (`room`: the longest idle connection was closed to
    /// accept a new one; `client`: the same, within one address; `files`: no file descriptor was left; `silent`: no
    /// request arrived; `reader`: the client did not read a reply).
    case closedEarly = "beckon_http_connections_closed_early_total"
    /// Counter: `accept` calls that failed because file descriptors or memory were exhausted.
    case acceptFailures = "beckon_http_accept_failures_total"
}

struct EdgeMetrics: Sendable {
    private let openGauge: Gauge
    private let limitGauge: Gauge
    private let refusals: [ConnectionBook.Refusal: Counter]
    private let endings: [ConnectionBook.Early: Counter]
    private let failures: Counter

    init(listener: String, factory: any MetricsFactory) {
        func counter(_ name: EdgeMetricName, _ reason: String) -> Counter {
            Counter(label: name.rawValue, dimensions: [("listener", listener), ("reason", reason)], factory: factory)
        }
        let dimensions = [("listener", listener)]
        openGauge = Gauge(label: EdgeMetricName.open.rawValue, dimensions: dimensions, factory: factory)
        limitGauge = Gauge(label: EdgeMetricName.limit.rawValue, dimensions: dimensions, factory: factory)
        failures = Counter(label: EdgeMetricName.acceptFailures.rawValue, dimensions: dimensions, factory: factory)
        refusals = Dictionary(
            uniqueKeysWithValues: [.full, .client].map { (why: ConnectionBook.Refusal) in
                (why, counter(.refused, why.rawValue))
            })
        endings = Dictionary(
            uniqueKeysWithValues: [.room, .client, .files, .silent, .reader].map { (why: ConnectionBook.Early) in
                (why, counter(.closedEarly, why.rawValue))
            })
    }

    func open(_ count: Int) { openGauge.record(count) }
    func limit(_ count: Int) { limitGauge.record(count) }
    func refused(_ why: ConnectionBook.Refusal) { refusals[why]?.increment() }
    func closedEarly(_ why: ConnectionBook.Early) { endings[why]?.increment() }
    func acceptFailed() { failures.increment() }
}
