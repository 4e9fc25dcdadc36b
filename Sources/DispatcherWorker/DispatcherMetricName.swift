import ChallengeModel
import PushProviders
public import ServiceSupport

/// The dispatcher's metrics. Labels come from closed sets; `partition` is bounded by the number of partitions.
public enum DispatcherMetricName: String, MetricNames {
    case pushes = "beckon_dispatcher_pushes_total"
    case pushDuration = "beckon_dispatcher_push_seconds"
    case acceptedAfter = "beckon_dispatcher_accepted_after_seconds"
    case dropped = "beckon_dispatcher_dropped_total"
    case inFlight = "beckon_dispatcher_in_flight"
    case lanes = "beckon_dispatcher_lanes"
    case partitionsExpected = "beckon_dispatcher_partitions_expected"
    case windowFull = "beckon_dispatcher_window_full_total"
    case holds = "beckon_dispatcher_holds_total"
    case attemptsHeld = "beckon_dispatcher_attempts_held_total"
    case attemptsUnsure = "beckon_dispatcher_attempts_unsure_total"
    case logsCut = "beckon_dispatcher_logs_cut_total"
    case heldPartitions = "beckon_dispatcher_held_partitions"
    case lag = "beckon_dispatcher_lag_records"
    case oldestUnsent = "beckon_dispatcher_oldest_unsent_seconds"
    case commitAge = "beckon_dispatcher_commit_age_seconds"
    case commits = "beckon_dispatcher_commits_total"
    case deadLetters = "beckon_dispatcher_dead_letters_total"
    case misplaced = "beckon_dispatcher_misplaced_total"
    case repeatsPossible = "beckon_dispatcher_repeats_possible_total"
    case writeRetries = "beckon_dispatcher_write_retries_total"
    case rebalances = "beckon_dispatcher_rebalances_total"
    case credentials = "beckon_dispatcher_credentials"
    case unreadableCredentials = "beckon_dispatcher_unreadable_credentials"
    case clockSkew = "beckon_dispatcher_clock_skew_seconds"
    case connections = "beckon_dispatcher_connections"
    case connectionsOpened = "beckon_dispatcher_connections_opened_total"
    case connectionsLost = "beckon_dispatcher_connections_lost_total"
    case connectFailures = "beckon_dispatcher_connect_failures_total"
    case goaways = "beckon_dispatcher_goaways_total"
    case resends = "beckon_dispatcher_resends_total"
    case timeouts = "beckon_dispatcher_push_timeouts_total"
    case openCircuits = "beckon_dispatcher_open_circuits"
    case inFlightLimit = "beckon_dispatcher_in_flight_limit"
    case waited = "beckon_dispatcher_wait_seconds"

    public var family: MetricFamily {
        switch self {
        case .pushes:
            .counter(
                rawValue, "Answers to pushes.",
                [Self.provider, .init("kind", ["visible", "background"]), .init("disposition", Self.dispositions)])
        case .pushDuration:
            .seconds(
                rawValue, "From the headers of a push to the provider's answer, or to the end of its deadline.",
                [Self.provider],
                bounds: [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1, 1.5, 2.5, 5, 10])
        case .acceptedAfter:
            .seconds(
                rawValue,
                "From the creation of a challenge to the provider's acceptance of its first visible push. It compares "
                    + "the clocks of producer and dispatcher.", [Self.provider])
        case .dropped: .counter(rawValue, "Pushes that were not sent.", [.init("reason", Self.dropReasons)])
        case .inFlight: .gauge(rawValue, "Pushes whose outcome is not acknowledged yet.")
        case .lanes: .gauge(rawValue, "Partitions of challenges that this dispatcher serves.")
        case .partitionsExpected:
            .gauge(
                rawValue,
                "Partitions that the topic challenges has. When all dispatchers together serve fewer, nobody pushes "
                    + "the challenges of the others.")
        case .windowFull:
            .counter(
                rawValue,
                "Times that a lane stopped reading because its own window or the window of the process was full.")
        case .holds:
            .counter(
                rawValue, "Times that a lane held its pushes because the last acknowledged commit was too old.")
        case .attemptsHeld:
            .counter(
                rawValue,
                "Pushes that waited until the newest receipts and resolutions were read: attempts after the first, pushes "
                    + "that a predecessor may have made, and first pushes whose record is a second old. A high rate means "
                    + "that the dispatcher falls behind.")
        case .attemptsUnsure:
            .counter(
                rawValue,
                "Pushes that waited for the newest receipts and were sent after 5 s without them, because Kafka did not "
                    + "answer the query of the end offsets, or because they could not leave in time for 5 s.")
        case .logsCut:
            .counter(
                rawValue,
                "Partitions of challenges whose log is not the one that was read before: an unclean election, or a "
                    + "topic that was created again.")
        case .heldPartitions:
            .gauge(
                rawValue,
                "Partitions held before a record that is signed with a record key that this role does not have.")
        case .lag: .gauge(rawValue, "Records of challenges that are not read yet.", [.init("partition")])
        case .oldestUnsent:
            .age(
                rawValue,
                "Age of the oldest challenge that was read and not sent, over all lanes. 0: none waits. Scale and page "
                    + "on this metric.")
        case .commitAge:
            .age(
                rawValue,
                "Age of the last acknowledged commit; 0 without partitions. No push starts when it is above the "
                    + "session timeout less 2 s.")
        case .commits: .counter(rawValue, "Commits.", [.init("result", ["acknowledged", "refused"])])
        case .deadLetters:
            .counter(
                rawValue,
                "Invalid records. The dispatcher writes those of challenges to dead-letters. It leaves those of other "
                    + "topics to the ack tracker.",
                [
                    .init("topic", Self.topics),
                    .init("reason", RecordFormatError.usualReasons + ["sealed", "version"]),
                ])
        case .misplaced:
            .counter(
                rawValue, "Records in a partition that does not belong to their key.", [.init("topic", Self.topics)])
        case .repeatsPossible:
            .counter(
                rawValue,
                "Pushes that may be repeated without being recognised: they were forgotten too early, or handed over "
                    + "while unanswered (drained).", [.init("cause", ["drained", "forgotten"])])
        case .writeRetries:
            .counter(
                rawValue,
                "Outcomes and dead letters that were written again because the broker did not acknowledge them.")
        case .rebalances: .counter(rawValue, "Rebalances.", [.init("kind", ["assigned", "revoked", "lost"])])
        case .credentials: .gauge(rawValue, "Provider credentials opened from topic configuration.")
        case .unreadableCredentials:
            .gauge(
                rawValue,
                "Credentials on topic configuration whose record key or configuration key this role does not have.")
        case .clockSkew:
            .gauge(
                rawValue,
                "Seconds by which this machine's clock is ahead (above 0) or behind (below 0), estimated from "
                    + "providers' answers and new records. Beyond 60 s the dispatcher holds its pushes.")
        case .connections: .gauge(rawValue, "Open connections to providers.", [Self.provider])
        case .connectionsOpened:
            .counter(rawValue, "Connections to providers that were opened.", [Self.provider])
        case .connectionsLost:
            .counter(
                rawValue,
                "Connections to providers that failed. Connections that ended by GOAWAY, or that this side closed, do "
                    + "not count.", [Self.provider])
        case .connectFailures:
            .counter(rawValue, "Attempts to connect to a provider that failed.", [Self.provider])
        case .goaways: .counter(rawValue, "GOAWAY frames received.", [Self.provider])
        case .resends:
            .counter(
                rawValue,
                "Requests handed to another connection because the provider had not processed them.", [Self.provider])
        case .timeouts:
            .counter(rawValue, "Requests that got no answer before their deadline.", [Self.provider])
        case .openCircuits:
            .gauge(rawValue, "Pairs of credential and host whose circuit breaker is open.", [Self.provider])
        case .inFlightLimit:
            .gauge(
                rawValue,
                "Current limit of outstanding pushes: the lowest among the provider's credentials. Below three "
                    + "quarters of push.maxInFlight the provider fails or is slow.", [Self.provider])
        case .waited: .seconds(rawValue, "From the record's timestamp to the hand-over to the gateway.")
        }
    }

    private static let provider = MetricFamily.Label("provider", PushProviders.all.map(\.word))
    private static let dispositions = [
        "accepted", "rejected", "token-dead", "deferred", "credential-fault", "unknown", "dropped",
    ]
    private static let dropReasons = DropReason.allCases.map(\.word).sorted()
    private static let topics = (Topic.copartitioned + [.configuration]).map(\.rawValue)
}
