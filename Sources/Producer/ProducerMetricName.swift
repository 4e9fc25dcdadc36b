import ChallengeModel
import Challenges
public import ServiceSupport

/// The Producer's metrics, without those of its outbox (``OutboxMetric``).
enum ProducerMetricName: String, MetricNames {
    case requests = "beckon_http_requests_total"
    case requestDuration = "beckon_http_request_duration_seconds"
    case challengesCreated = "beckon_challenges_created_total"
    case answers = "beckon_answers_total"
    case receipts = "beckon_receipts_total"
    case hmsReceipts = "beckon_hms_receipts_total"
    case authenticationFailures = "beckon_auth_failures_total"
    case entranceRecords = "beckon_entrance_records_total"
    case entranceRetries = "beckon_entrance_retries_total"
    case entranceInFlight = "beckon_entrance_in_flight"
    case entranceLag = "beckon_entrance_lag_records"
    case heldPartitions = "beckon_entrance_held_partitions"
    case deadLetters = "beckon_dead_letters_total"
    case deadLettersRefused = "beckon_dead_letters_refused_total"
    case limited = "beckon_limited_total"
    case shed = "beckon_outbox_shed_total"
    case longPolls = "beckon_long_polls"
    case longPollsRefused = "beckon_long_polls_refused_total"
    case storeCommits = "beckon_store_commits_total"
    case storeConnections = "beckon_store_connections"
    case storeTransactions = "beckon_store_transactions_total"
    case storeDaysAhead = "beckon_store_days_ahead"
    case storeFault = "beckon_store_fault"
    case alerts = "beckon_alerts_total"

    var family: MetricFamily {
        switch self {
        case .requests:
            .counter(
                rawValue,
                "Answered requests, by route (template) and class of status (2xx to 5xx). A route has its series for "
                    + "5xx from its first request on.", [.init("route"), .init("method"), .init("class")])
        case .requestDuration:
            .seconds(
                rawValue, "From the end of the request head until the answer is built.",
                [.init("route"), .init("method")])
        case .challengesCreated: .counter(rawValue, "Created challenges.", [.init("source", ["http", "kafka"])])
        case .answers:
            .counter(
                rawValue,
                "Answers of devices. refused: the signature, the number or the session token is wrong or missing; "
                    + "late: the challenge was no longer pending.",
                [.init("result", ProducerMetrics.AnswerResult.allCases.map(\.rawValue))])
        case .receipts:
            .counter(
                rawValue, "Accepted receipts.",
                [.init("source", ProducerMetrics.ReceiptSource.allCases.map(\.rawValue))])
        case .hmsReceipts:
            .counter(
                rawValue,
                "Delivery receipts of HMS, by Huawei's status, and by whether Beckon sent the message (ours).",
                [.init("status"), .init("ours", ["yes", "no"])])
        case .authenticationFailures:
            .counter(
                rawValue, "Refused credentials.",
                [.init("kind", ProducerMetrics.CredentialKind.allCases.map(\.rawValue))])
        case .entranceRecords:
            .counter(
                rawValue,
                "Processed records of an entrance. The entrance delivery stands for the topics outcomes and receipts.",
                [Self.entrance, .init("result", ProducerMetrics.EntranceResult.allCases.map(\.rawValue))])
        case .entranceRetries: .counter(rawValue, "Failed tries that are repeated.", [Self.entrance])
        case .entranceInFlight: .gauge(rawValue, "Records of an entrance that are in progress.", [Self.entrance])
        case .entranceLag:
            .gauge(
                rawValue, "Records of an entrance that are not done yet, over the partitions of this Producer.",
                [Self.entrance])
        case .heldPartitions:
            .gauge(
                rawValue,
                "Partitions of outcomes and receipts held before a record that is signed with a record key that this "
                    + "role does not have.")
        case .deadLetters:
            .counter(
                rawValue, "Records that went to dead letters. The topic is without its prefix.",
                [
                    Self.topic,
                    .init("reason", RecordFormatError.usualReasons + ["account", "expired", "size", "token"]),
                ])
        case .deadLettersRefused:
            .counter(
                rawValue,
                "Records that were dropped because the topic dead-letters permanently refuses them. The topic is "
                    + "without its prefix.", [Self.topic])
        case .limited:
            .counter(
                rawValue, "Creations and resends that were refused with 429.",
                [.init("limit", LimitRefusal.Kind.allCases.map(\.rawValue))])
        case .shed:
            .counter(rawValue, "Creations that were refused with 503 because the outbox is over its limit.")
        case .longPolls: .gauge(rawValue, "Requests that wait until a challenge changes.")
        case .longPollsRefused:
            .counter(
                rawValue,
                "Requests with Wait that were answered at once because api.maxLongPolls requests were waiting.")
        case .storeCommits:
            .counter(rawValue, "Committed transactions of the store. Many writes share one transaction.")
        case .storeConnections:
            .gauge(
                rawValue,
                "Connections to the database: open, busy, and callers that are waiting for one. Only with PostgreSQL.",
                [.init("state", ["open", "busy", "waiting"])])
        case .storeTransactions:
            .counter(
                rawValue,
                "Transactions that the database refused or repeated, and COMMITs whose answer was lost: found-done, "
                    + "found-undone or unknown. Only with PostgreSQL.",
                [.init("what", StoreConnectionMetrics.transactions)])
        case .storeDaysAhead:
            .gauge(
                rawValue,
                "Days after today that have partitions: 7 in a healthy store; -1: today has none. Only with PostgreSQL."
            )
        case .storeFault:
            .gauge(
                rawValue, "1 while the store cannot write.",
                [.init("cause", StoreFault.Cause.allCases.map(\.rawValue))])
        case .alerts:
            .counter(
                rawValue,
                "Events that are alerts. made: a new alert; counted: in the alert of its cause; skipped: within a second "
                    + "of the last counted one; merged: the account has its alerts of the hour.",
                [.init("result", AlertCounts.Result.allCases.map(\.rawValue))])
        }
    }

    private static let entrance = MetricFamily.Label("entrance", ["requests", "receipt-requests", "delivery"])
    private static let topic = MetricFamily.Label(
        "topic", [Topic.requests, .receiptRequests, .outcomes, .receipts].map(\.rawValue))
}

extension ProducerService {
    /// The descriptions of the Producer's metrics.
    public static var metricFamilies: [MetricFamily] { ProducerMetricName.families + OutboxMetric.families }
}
