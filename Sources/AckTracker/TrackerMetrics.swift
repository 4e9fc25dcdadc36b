import CoreMetrics
import KafkaClient

/// The names of the tracker's metrics.
public enum TrackerMetricName {
    /// Gauge: challenges in the tracker's memory, including closed challenges and early facts.
    public static let held = "beckon_tracker_held"
    /// Gauge: due challenges that wait until their topics are read to the end, or for a recent commit.
    public static let due = "beckon_tracker_due"
    /// Gauge: challenges known only from early facts, because their record has not been read.
    public static let early = "beckon_tracker_early"
    /// Counter: attempts `t<n>` that were written and acknowledged.
    public static let attempts = "beckon_tracker_attempts_total"
    /// Counter: escalations that were written and acknowledged.
    public static let escalations = "beckon_tracker_escalations_total"
    /// Counter: states carried forward.
    public static let carried = "beckon_tracker_carried_total"
    /// Counter: failed writes, which are decided again; label `kind`.
    public static let writeFailures = "beckon_tracker_write_failures_total"
    /// Counter: receipts from devices that the challenge was pushed to.
    public static let receiptsMatched = "beckon_tracker_receipts_matched_total"
    /// Counter: facts about a challenge that the tracker did not know at that time.
    public static let earlyFacts = "beckon_tracker_early_facts_total"
    /// Counter: early facts that were dropped because their table was full.
    public static let earlyDropped = "beckon_tracker_early_dropped_total"
    /// Counter: events written; label `type`.
    public static let events = "beckon_tracker_events_total"
    /// Counter: events and dead letters that cannot be written now and are left to a later run.
    public static let untold = "beckon_tracker_untold_total"
    /// Counter: refused records; labels `topic`, `reason` (`forged`, `poison`, `misplaced`, `implausible`, `foreign`).
    public static let refused = "beckon_tracker_refused_total"
    /// Gauge: unread records of the four topics, over all partitions of this tracker. Do not use the lag that Kafka
    /// reports for the group: it shows how long challenges are held.
    public static let lag = "beckon_tracker_lag_records"
    /// Gauge: partitions of the four topics that are held because their next record is signed with a key that this role
    /// does not have.
    public static let heldPartitions = "beckon_tracker_held_partitions"
    /// Counter: partitions of the four topics that were read again from their start, because their log was replaced:
    /// the topic was created again, or an election was unclean.
    public static let logsCut = "beckon_tracker_logs_cut_total"
    /// Timer: from an assignment until its partitions are caught up.
    public static let catchUp = "beckon_tracker_catch_up_seconds"
    /// Gauge: seconds since the last acknowledged commit was sent. No timer fires when this exceeds the session timeout
    /// less 2 s.
    public static let commitAge = "beckon_tracker_commit_age_seconds"
    /// Counter: commits that were refused or got no answer.
    public static let commitFailures = "beckon_tracker_commit_failures_total"
    /// Timer: from the time that an action is due until it is written.
    public static let fireDelay = "beckon_tracker_fire_delay_seconds"
    /// Gauge: partitions of this tracker that are caught up.
    public static let partitions = "beckon_tracker_partitions"
    /// Gauge: the learned expected latency in milliseconds; labels `platform`, `app` (at most 1,000).
    public static let expectedLatency = "beckon_tracker_expected_latency_ms"
}

/// The tracker's metrics. Each is created once.
struct TrackerMetrics: Sendable {
    let held, due, early, lag, commitAge, partitions, heldPartitions: Gauge
    let attempts, escalations, carried, receiptsMatched, earlyFacts, earlyDropped, untold, commitFailures,
        logsCut: Counter
    let catchUp, fireDelay: Timer
    private let factory: any MetricsFactory

    init(factory: any MetricsFactory) {
        func gauge(_ name: String) -> Gauge { Gauge(label: name, factory: factory) }
        func counter(_ name: String) -> Counter { Counter(label: name, factory: factory) }
        self.factory = factory
        held = gauge(TrackerMetricName.held)
        due = gauge(TrackerMetricName.due)
        early = gauge(TrackerMetricName.early)
        lag = gauge(TrackerMetricName.lag)
        commitAge = gauge(TrackerMetricName.commitAge)
        partitions = gauge(TrackerMetricName.partitions)
        heldPartitions = gauge(TrackerMetricName.heldPartitions)
        attempts = counter(TrackerMetricName.attempts)
        escalations = counter(TrackerMetricName.escalations)
        carried = counter(TrackerMetricName.carried)
        receiptsMatched = counter(TrackerMetricName.receiptsMatched)
        earlyFacts = counter(TrackerMetricName.earlyFacts)
        earlyDropped = counter(TrackerMetricName.earlyDropped)
        untold = counter(TrackerMetricName.untold)
        commitFailures = counter(TrackerMetricName.commitFailures)
        logsCut = counter(TrackerMetricName.logsCut)
        catchUp = Timer(label: TrackerMetricName.catchUp, factory: factory)
        fireDelay = Timer(label: TrackerMetricName.fireDelay, factory: factory)
    }

    func refused(topic: String, reason: RecordReader.Refusal) {
        Counter(
            label: TrackerMetricName.refused, dimensions: [("topic", topic), ("reason", reason.rawValue)],
            factory: factory
        ).increment()
    }

    func event(type: String) {
        Counter(label: TrackerMetricName.events, dimensions: [("type", type)], factory: factory).increment()
    }

    func writeFailed(kind: String) {
        Counter(label: TrackerMetricName.writeFailures, dimensions: [("kind", kind)], factory: factory).increment()
    }

    func expectedLatency(platform: String, app: String, milliseconds: UInt32) {
        Gauge(
            label: TrackerMetricName.expectedLatency, dimensions: [("platform", platform), ("app", app)],
            factory: factory
        ).record(Int64(milliseconds))
    }
}
