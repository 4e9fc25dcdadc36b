import ChallengeModel
import Challenges
public import ServiceSupport

/// The webhook relay's metrics.
enum WebhookMetricName: String, MetricNames {
    case attempts = "beckon_webhook_attempts_total"
    case duration = "beckon_webhook_request_duration_seconds"
    case stored = "beckon_webhook_stored_total"
    case records = "beckon_webhook_records_total"
    case inFlight = "beckon_webhook_in_flight"
    case openBreakers = "beckon_webhook_open_breakers"
    case overdue = "beckon_webhook_overdue_seconds"
    case lag = "beckon_webhook_lag_records"
    case storeRetries = "beckon_webhook_store_retries_total"
    case attemptsUnrecorded = "beckon_webhook_attempts_unrecorded_total"
    case heldPartitions = "beckon_webhook_held_partitions"
    case deadLetters = "beckon_webhook_dead_letters_total"
    case alerts = "beckon_webhook_alerts_total"

    var family: MetricFamily {
        switch self {
        case .attempts:
            .counter(
                rawValue, "Requests to endpoints: delivered, or the reason of the failure.",
                [.init("result", Self.results)])
        case .duration: .seconds(rawValue, "A request from its first byte to the answer.")
        case .stored: .counter(rawValue, "Events that went to the store instead of being delivered at once.")
        case .records:
            .counter(
                rawValue, "Processed records of topic events.", [.init("result", ["relayed", "unwanted", "refused"])])
        case .inFlight: .gauge(rawValue, "Requests that are under way.")
        case .openBreakers: .gauge(rawValue, "Endpoints whose circuit breaker is open.")
        case .overdue:
            .age(
                rawValue,
                "Time since the oldest stored event of this relay's partitions was due. It grows while an endpoint "
                    + "fails. 0: none is due.")
        case .lag:
            .gauge(rawValue, "Unprocessed records of topic events, over the partitions of this relay.")
        case .storeRetries: .counter(rawValue, "Failed operations of the store that are repeated.")
        case .attemptsUnrecorded:
            .counter(
                rawValue,
                "Attempts that are missing in the list of attempts because too many waited to be written.")
        case .heldPartitions:
            .gauge(
                rawValue,
                "Partitions of events held before a record that is signed with a record key that this role does not "
                    + "have.")
        case .deadLetters:
            .counter(
                rawValue, "Records that went to dead letters. The topic is without its prefix.",
                [
                    .init("topic", [Topic.events.rawValue]),
                    .init("reason", RecordFormatError.usualReasons + ["refused"]),
                ])
        case .alerts:
            .counter(
                rawValue,
                "Events of this relay that are alerts. The results are those of beckon_alerts_total.",
                [.init("result", AlertCounts.Result.allCases.map(\.rawValue))])
        }
    }

    private static let results = [
        "delivered", "status", "gone", "redirect", "connect", "connect-timeout", "read-timeout", "closed", "tls",
        "certificate", "certificate-name", "not-http", "refused", "no-such-host", "name-server", "busy", "cancelled",
        "aborted-by-receiver", "disabled-by-receiver", "no-consent", "rate",
    ]
}

extension WebhookRelayService {
    /// The descriptions of the webhook relay's metrics.
    public static var metricFamilies: [MetricFamily] { WebhookMetricName.families }
}
