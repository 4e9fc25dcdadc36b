import ChallengeModel
import PushProviders
public import ServiceSupport

/// The tracker's metrics.
public enum TrackerMetricName: String, MetricNames {
    case held = "beckon_tracker_held"
    case due = "beckon_tracker_due"
    case early = "beckon_tracker_early"
    case attempts = "beckon_tracker_attempts_total"
    case escalations = "beckon_tracker_escalations_total"
    case carried = "beckon_tracker_carried_total"
    case writeFailures = "beckon_tracker_write_failures_total"
    case receiptsMatched = "beckon_tracker_receipts_matched_total"
    case receiptAfter = "beckon_tracker_receipt_after_seconds"
    case outcomes = "beckon_challenge_outcomes_total"
    case earlyFacts = "beckon_tracker_early_facts_total"
    case earlyDropped = "beckon_tracker_early_dropped_total"
    case events = "beckon_tracker_events_total"
    case untold = "beckon_tracker_untold_total"
    case refused = "beckon_tracker_refused_total"
    case lag = "beckon_tracker_lag_records"
    case heldPartitions = "beckon_tracker_held_partitions"
    case logsCut = "beckon_tracker_logs_cut_total"
    case catchUp = "beckon_tracker_catch_up_seconds"
    case commitAge = "beckon_tracker_commit_age_seconds"
    case commitFailures = "beckon_tracker_commit_failures_total"
    case fireDelay = "beckon_tracker_fire_delay_seconds"
    case partitions = "beckon_tracker_partitions"
    case partitionsExpected = "beckon_tracker_partitions_expected"
    case expectedLatency = "beckon_tracker_expected_latency_seconds"

    public var family: MetricFamily {
        switch self {
        case .held:
            .gauge(rawValue, "Challenges in the tracker's memory, including closed challenges and early facts.")
        case .due:
            .gauge(
                rawValue,
                "Due challenges that wait until their topics are read to the end, or for a recent commit.")
        case .early:
            .gauge(rawValue, "Challenges known only from early facts, because their record has not been read.")
        case .attempts:
            .counter(rawValue, "Challenges pushed again: attempts that were written and acknowledged.")
        case .escalations:
            .counter(rawValue, "Challenges reported to the backend as undelivered.")
        case .carried: .counter(rawValue, "States of challenges carried forward, so that a replay stays short.")
        case .writeFailures:
            .counter(
                rawValue, "Failed writes, which are decided again.",
                [.init("kind", ["attempt", "escalation", "carried", "consequence"])])
        case .receiptsMatched:
            .counter(rawValue, "First receipts of devices that the challenge was pushed to.")
        case .receiptAfter:
            .seconds(
                rawValue,
                "From the provider's acceptance of a challenge's first push to the app's receipt. Polls do not count.",
                [.init("provider", PushProviders.all.map(\.word))])
        case .outcomes:
            .counter(
                rawValue,
                "Ended challenges, and who decided the end. Of an expired challenge: person, a device has confirmed it; "
                    + "device, a provider has accepted the push, and no device has confirmed it; provider, no push was "
                    + "accepted, and a provider or a token failed; beckon, no push has an outcome.",
                [
                    .init("outcome", ["approved", "denied", "expired", "canceled", "superseded"]),
                    .init("responsible", ChallengeOutcome.Responsible.allCases.map(\.rawValue)),
                ])
        case .earlyFacts:
            .counter(rawValue, "Facts about a challenge that the tracker did not know at that time.")
        case .earlyDropped: .counter(rawValue, "Early facts that were dropped because their table was full.")
        case .events:
            .counter(
                rawValue, "Events written.",
                [
                    .init(
                        "type",
                        [.challengeDispatched, .challengeConfirmed, .challengeUndelivered, .pushFailed].map {
                            (type: EventType) in "beckon." + type.rawValue
                        })
                ])
        case .untold:
            .counter(
                rawValue,
                "Events and dead letters that cannot be written now and are left to a later run. If the cause is fixed "
                    + "within ten minutes, they are written; after that, older ones are lost.")
        case .refused:
            .counter(
                rawValue, "Refused records.",
                [
                    .init("topic", Topic.copartitioned.map(\.rawValue)),
                    .init("reason", RecordReader.Refusal.allCases.map(\.rawValue)),
                ])
        case .lag:
            .gauge(
                rawValue,
                "Unread records of the four topics, over all partitions of this tracker. Do not use the lag that Kafka "
                    + "reports for the group: it shows how long challenges are held.")
        case .heldPartitions:
            .gauge(
                rawValue,
                "Partitions held before a record that is signed with a record key that this role does not have.")
        case .logsCut:
            .counter(
                rawValue,
                "Partitions that were read again from their start, because their log was replaced: the topic was "
                    + "created again, or an election was unclean.")
        case .catchUp: .seconds(rawValue, "From an assignment until its partitions are caught up.")
        case .commitAge:
            .age(
                rawValue,
                "Age of the last acknowledged commit; 0 without partitions. No timer fires when it is above the session "
                    + "timeout less 2 s.")
        case .commitFailures: .counter(rawValue, "Commits that were refused or got no answer.")
        case .fireDelay: .seconds(rawValue, "From the time that an action is due until it is written.")
        case .partitions: .gauge(rawValue, "Partitions of this tracker that are caught up.")
        case .partitionsExpected:
            .gauge(
                rawValue,
                "Partitions that the topic challenges has. When all trackers together have caught up with fewer, nobody "
                    + "pushes the challenges of the others again.")
        case .expectedLatency:
            .gauge(
                rawValue,
                "The learned expected latency, the longest among the provider's apps. Challenges that ask for adaptive "
                    + "use it.", [.init("provider")])
        }
    }
}
