import ChallengeModel
import Metrics
import PushGateway
import PushProviders
import Synchronization

/// The dispatcher's metrics. Labels come from closed sets; `partition` is bounded by the number of partitions.
public enum DispatcherMetricName: String, CaseIterable, Sendable {
    /// Counter. Answers to pushes, by `provider`, `kind` and `disposition`.
    case pushes = "beckon_dispatcher_pushes_total"
    /// Counter. Pushes not sent, by `reason`.
    case dropped = "beckon_dispatcher_dropped_total"
    /// Gauge. Pushes taken whose outcome is not acknowledged.
    case inFlight = "beckon_dispatcher_in_flight"
    /// Gauge. Partitions served.
    case lanes = "beckon_dispatcher_lanes"
    /// Counter. Times that a lane stopped reading because its window, or the process's, was full.
    case windowFull = "beckon_dispatcher_window_full_total"
    /// Counter. Times that a lane held its pushes because the last acknowledged commit was too old.
    case holds = "beckon_dispatcher_holds_total"
    /// Counter. Later attempts that waited until their lane had read `receipts` and `resolutions` to their ends.
    case attemptsHeld = "beckon_dispatcher_attempts_held_total"
    /// Counter. Of those, and of retries, what left after 5 s although the ends could not be reached.
    case attemptsUnsure = "beckon_dispatcher_attempts_unsure_total"
    /// Counter. Partitions of `challenges` that ended before the committed offset when they were taken over.
    case logsCut = "beckon_dispatcher_logs_cut_total"
    /// Gauge. Partitions held in front of a record that is signed with a record key which this role does not have.
    case heldPartitions = "beckon_dispatcher_held_partitions"
    /// Gauge. Records behind the end of `challenges`, by `partition`.
    case lag = "beckon_dispatcher_lag"
    /// Gauge. Age of the oldest challenge read and not sent, over all lanes, in seconds. The signal to scale on.
    case oldestUnsent = "beckon_dispatcher_oldest_unsent_seconds"
    /// Gauge. Age of the last acknowledged commit, in seconds.
    case commitAge = "beckon_dispatcher_commit_age_seconds"
    /// Counter. Commits, by `result`: `acknowledged`, `refused`.
    case commits = "beckon_dispatcher_commits_total"
    /// Counter. Records that were not what they should be, by `topic` and `reason`. Those of `challenges` are written to
    /// `dead-letters`; those of the other topics are left to the ack tracker, who commits them.
    case deadLetters = "beckon_dispatcher_dead_letters_total"
    /// Counter. Records in a partition that their key does not belong to, by `topic`.
    case misplaced = "beckon_dispatcher_misplaced_total"
    /// Counter. Pushes that could be repeated unnoticed: forgotten before their time, or handed over unanswered; by `cause`.
    case repeatsPossible = "beckon_dispatcher_repeats_possible_total"
    /// Counter. Outcomes and dead letters that had to be written again, because the broker did not acknowledge them.
    case writeRetries = "beckon_dispatcher_write_retries_total"
    /// Counter. Rebalances, by `kind`: `assigned`, `revoked`, `lost`.
    case rebalances = "beckon_dispatcher_rebalances_total"
    /// Gauge. Provider credentials opened from `configuration`.
    case credentials = "beckon_dispatcher_credentials"
    /// Gauge. Credentials on `configuration` whose record or configuration key this role does not have.
    case unreadableCredentials = "beckon_dispatcher_unreadable_credentials"
    /// Gauge. Seconds that this machine's clock is ahead (above 0) or behind, as far as providers' answers and new records show it.
    case clockSkew = "beckon_dispatcher_clock_skew_seconds"
    /// Gauge. Connections to providers open now.
    case connections = "beckon_dispatcher_connections"
    /// Counter. Connections to providers opened.
    case connectionsOpened = "beckon_dispatcher_connections_opened_total"
    /// Counter. Connections that ended by a fault: neither by GOAWAY nor by us.
    case connectionsLost = "beckon_dispatcher_connections_lost_total"
    /// Counter. Attempts to connect to a provider that failed.
    case connectFailures = "beckon_dispatcher_connect_failures_total"
    /// Counter. GOAWAYs received.
    case goaways = "beckon_dispatcher_goaways_total"
    /// Counter. Requests handed to another connection because the provider had not processed them.
    case resends = "beckon_dispatcher_resends_total"
    /// Counter. Requests whose deadline came with the answer outstanding.
    case timeouts = "beckon_dispatcher_push_timeouts_total"
    /// Gauge. Ways (credential and host) whose circuit breaker keeps pushes back now.
    case openCircuits = "beckon_dispatcher_open_circuits"
    /// Gauge. Most pushes that may be outstanding now, of the credential of each `provider` that is limited most.
    case inFlightLimit = "beckon_dispatcher_in_flight_limit"
    /// Timer. From the record's time stamp to the hand-over to the gateway.
    case waited = "beckon_dispatcher_wait_seconds"
}

/// Makes each metric once.
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

    /// What the push gateway did since it was made; `before` is what was told last.
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

    /// On the hot path: no text is made.
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
