import ChallengeModel
import Metrics
import PushGateway
import PushProviders
import Synchronization

/// The dispatcher's metrics. Labels come from closed sets; `partition` is bounded by the number of partitions.
public enum DispatcherMetricName: String, CaseIterable, Sendable {
    /// Counter. Answers to pushes, by `provider`, `kind` and `disposition`.
    case pushes = "beckon_dispatcher_pushes_total"
    /// Counter. Pushes that were not sent, by `reason`.
    case dropped = "beckon_dispatcher_dropped_total"
    /// Gauge. Pushes whose outcome is not acknowledged yet.
    case inFlight = "beckon_dispatcher_in_flight"
    /// Gauge. Partitions that this dispatcher serves.
    case lanes = "beckon_dispatcher_lanes"
    /// Counter. Times that a lane stopped reading because its own window or the window of the process was full.
    case windowFull = "beckon_dispatcher_window_full_total"
    /// Counter. Times that a lane held its pushes because the last acknowledged commit was too old.
    case holds = "beckon_dispatcher_holds_total"
    /// Counter. Attempts after the first that waited until their lane had read `receipts` and `resolutions` to the end.
    case attemptsHeld = "beckon_dispatcher_attempts_held_total"
    /// Counter. Such attempts, and retries, that were sent after 5 s although the lane could not read to the end. Also
    /// first pushes repeated by a new owner that could not leave in time for 5 s.
    case attemptsUnsure = "beckon_dispatcher_attempts_unsure_total"
    /// Counter. Partitions of `challenges` whose end was below the committed offset when this dispatcher got them.
    case logsCut = "beckon_dispatcher_logs_cut_total"
    /// Gauge. Partitions that are held because their next record is signed with a key that this role does not have.
    case heldPartitions = "beckon_dispatcher_held_partitions"
    /// Gauge. Records behind the end of `challenges`, by `partition`.
    case lag = "beckon_dispatcher_lag"
    /// Gauge. Age in seconds of the oldest challenge that was read but not sent, over all lanes. Scale on this metric.
    case oldestUnsent = "beckon_dispatcher_oldest_unsent_seconds"
    /// Gauge. Age of the last acknowledged commit, in seconds.
    case commitAge = "beckon_dispatcher_commit_age_seconds"
    /// Counter. Commits, by `result`: `acknowledged`, `refused`.
    case commits = "beckon_dispatcher_commits_total"
    /// Counter. Invalid records, by `topic` and `reason`. The dispatcher writes invalid records of `challenges` to
    /// `dead-letters`. It leaves those of other topics to the ack tracker, which commits them.
    case deadLetters = "beckon_dispatcher_dead_letters_total"
    /// Counter. Records in a partition that does not belong to their key, by `topic`.
    case misplaced = "beckon_dispatcher_misplaced_total"
    /// Counter. Pushes that may be repeated without being recognised, by `cause`: they were forgotten too early, or
    /// they were handed over while unanswered.
    case repeatsPossible = "beckon_dispatcher_repeats_possible_total"
    /// Counter. Outcomes and dead letters that were written again because the broker did not acknowledge them.
    case writeRetries = "beckon_dispatcher_write_retries_total"
    /// Counter. Rebalances, by `kind`: `assigned`, `revoked`, `lost`.
    case rebalances = "beckon_dispatcher_rebalances_total"
    /// Gauge. Provider credentials opened from `configuration`.
    case credentials = "beckon_dispatcher_credentials"
    /// Gauge. Credentials on `configuration` that this role cannot read, because it lacks their record key or
    /// configuration key.
    case unreadableCredentials = "beckon_dispatcher_unreadable_credentials"
    /// Gauge. Seconds by which this machine's clock is ahead (above 0) or behind (below 0), estimated from providers'
    /// answers and new records.
    case clockSkew = "beckon_dispatcher_clock_skew_seconds"
    /// Gauge. Open connections to providers.
    case connections = "beckon_dispatcher_connections"
    /// Counter. Connections to providers that were opened.
    case connectionsOpened = "beckon_dispatcher_connections_opened_total"
    /// Counter. Connections to providers that failed. Connections that ended by GOAWAY, or that this side closed, do
    /// not count.
    case connectionsLost = "beckon_dispatcher_connections_lost_total"
    /// Counter. Attempts to connect to a provider that failed.
    case connectFailures = "beckon_dispatcher_connect_failures_total"
    /// Counter. GOAWAYs received.
    case goaways = "beckon_dispatcher_goaways_total"
    /// Counter. Requests handed to another connection because the provider had not processed them.
    case resends = "beckon_dispatcher_resends_total"
    /// Counter. Requests that got no answer before their deadline.
    case timeouts = "beckon_dispatcher_push_timeouts_total"
    /// Gauge. Pairs of credential and host whose circuit breaker is open.
    case openCircuits = "beckon_dispatcher_open_circuits"
    /// Gauge. Current limit of outstanding pushes, by `provider`: the lowest limit among the provider's credentials.
    case inFlightLimit = "beckon_dispatcher_in_flight_limit"
    /// Timer. From the record's timestamp to the hand-over to the gateway.
    case waited = "beckon_dispatcher_wait_seconds"
}

/// Creates each metric once.
final class DispatcherMetrics: Sendable {
    private let factory: any MetricsFactory
    private let counters = Mutex<[String: Counter]>([:])
    private let gauges = Mutex<[String: Gauge]>([:])
    private let pushCounters = Mutex<[Int: Counter]>([:])
    let waited: Metrics.Timer

    init(factory: any MetricsFactory) {
        self.factory = factory
        waited = Metrics.Timer(label: DispatcherMetricName.waited.rawValue, dimensions: [], factory: factory)
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
        set(.connections, Double(now.connections))
        set(.openCircuits, Double(now.openCircuits))
        for (platform, limit) in now.inFlightLimits {
            set(.inFlightLimit, Double(limit), [("provider", platform.word ?? "other")])
        }
        let counters: [(DispatcherMetricName, KeyPath<PushGatewayStatistics, Int>)] = [
            (.connectionsOpened, \.connectionsOpened), (.connectionsLost, \.connectionsLost),
            (.connectFailures, \.connectFailures), (.goaways, \.goaways), (.resends, \.resends),
            (.timeouts, \.timeouts),
        ]
        // Also when nothing happened: a counter that is not there cannot be told from a worker that is not.
        for (name, field) in counters { count(name, by: max(0, now[keyPath: field] - before[keyPath: field])) }
    }

    /// This runs on the hot path, so it creates no text.
    func answered(_ platform: Platform, _ kind: PushKind, _ disposition: Disposition) {
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
    fileprivate var metricLabel: String {
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
