import CoreMetrics
import KafkaClient

/// The names of the tracker's metrics.
public enum TrackerMetricName {
    /// Gauge: challenges held, closed and early ones included.
    public static let held = "beckon_tracker_held"
    /// Gauge: challenges that are due and wait for the ends of their topics to be read, or for a fresh commit.
    public static let due = "beckon_tracker_due"
    /// Gauge: challenges known by early facts alone.
    public static let early = "beckon_tracker_early"
    /// Counter: attempts t<n> written and acknowledged.
    public static let attempts = "beckon_tracker_attempts_total"
    /// Counter: escalations written and acknowledged.
    public static let escalations = "beckon_tracker_escalations_total"
    /// Counter: states carried forward.
    public static let carried = "beckon_tracker_carried_total"
    /// Counter: writes that failed and are decided again; label `kind`.
    public static let writeFailures = "beckon_tracker_write_failures_total"
    /// Counter: receipts of a device that was pushed to.
    public static let receiptsMatched = "beckon_tracker_receipts_matched_total"
    /// Counter: facts of a challenge that was not known (yet).
    public static let earlyFacts = "beckon_tracker_early_facts_total"
    /// Counter: early facts dropped because there was no room.
    public static let earlyDropped = "beckon_tracker_early_dropped_total"
    /// Counter: events written; label `type`.
    public static let events = "beckon_tracker_events_total"
    /// Counter: events and dead letters left to a later run because they cannot be written.
    public static let untold = "beckon_tracker_untold_total"
    /// Counter: records refused; labels `topic`, `reason` (`forged`, `poison`, `misplaced`, `implausible`,
    /// `foreign`).
    public static let refused = "beckon_tracker_refused_total"
    /// Gauge: records not read yet, over the four topics and all partitions owned. The group's lag in Kafka's own terms
    /// shows how long challenges are held instead.
    public static let lag = "beckon_tracker_lag_records"
    /// Gauge: partitions of the four topics held in front of a record that is signed with a record key which this role does not
    /// have.
    public static let heldPartitions = "beckon_tracker_held_partitions"
    /// Counter: partitions of the four topics that turned out to be another log than the one that was read, and were read from their
    /// start: a topic made anew, or an unclean election.
    public static let logsCut = "beckon_tracker_logs_cut_total"
    /// Timer: from an assignment to its catch-up.
    public static let catchUp = "beckon_tracker_catch_up_seconds"
    /// Gauge: seconds since the request of the last acknowledged commit; nothing fires beyond the session timeout less 2 s.
    public static let commitAge = "beckon_tracker_commit_age_seconds"
    /// Counter: commits refused or unanswered.
    public static let commitFailures = "beckon_tracker_commit_failures_total"
    /// Timer: from due to written.
    public static let fireDelay = "beckon_tracker_fire_delay_seconds"
    /// Gauge: partitions owned and caught up.
    public static let partitions = "beckon_tracker_partitions"
    /// Gauge: the expected latency learnt, milliseconds; labels `platform`, `app` (at most 1,000).
    public static let expectedLatency = "beckon_tracker_expected_latency_ms"
}

/// The tracker's metrics, made once.
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
