public import KafkaClient

/// Ends the worker when a loop makes no progress. librdkafka does not notice this, so the worker would keep its
/// partitions without serving them.
struct Watchdog: Sendable {
    /// The observed ages in milliseconds.
    struct Sight: Hashable, Sendable {
        var controlMs: Int64
        var pollMs: Int64
        /// Per partition: since the lane's last turn, and the age of its oldest push without an answer.
        var lanes: [Lane]

        struct Lane: Hashable, Sendable {
            var partition: Int32
            var turnMs: Int64
            var oldestSentMs: Int64?
        }
    }

    var boundMs: Int64

    /// The part that makes no progress; nil: all parts do.
    func verdict(_ sight: Sight) -> String? {
        if sight.controlMs > boundMs { return "the control loop has made no progress for \(sight.controlMs) ms" }
        if sight.pollMs > boundMs { return "the consumer has not been polled for \(sight.pollMs) ms" }
        for lane in sight.lanes {
            if lane.turnMs > boundMs {
                return "the lane of partition \(lane.partition) has made no progress for \(lane.turnMs) ms"
            }
            if let sent = lane.oldestSentMs, sent > boundMs {
                return "a push of partition \(lane.partition) has had no answer for \(sent) ms"
            }
        }
        return nil
    }
}

/// The reason why a dispatcher ended without being stopped.
public enum DispatcherError: Error, CustomStringConvertible, Sendable {
    /// A part made no progress for longer than the watchdog's bound; the text names it.
    case stalled(String)
    /// The Kafka client failed and cannot recover.
    case kafka(KafkaError)
    /// The consumer's events ended although nobody closed the consumer.
    case consumerEnded

    public var description: String {
        switch self {
        case .stalled(let what): "the dispatcher makes no progress: \(what)"
        case .kafka(let error): "the dispatcher's Kafka client failed permanently: \(error)"
        case .consumerEnded: "the dispatcher's consumer ended unexpectedly"
        }
    }
}
