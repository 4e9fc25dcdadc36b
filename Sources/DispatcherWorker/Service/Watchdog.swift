public import KafkaClient

/// A loop that stands still ends the worker, for librdkafka does not notice it: it would keep its partitions and serve
/// nobody.
struct Watchdog: Sendable {
    /// What is looked at, as ages in milliseconds.
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

    /// What stands still; nil: nothing.
    func verdict(_ sight: Sight) -> String? {
        if sight.controlMs > boundMs { return "the control loop has not turned for \(sight.controlMs) ms" }
        if sight.pollMs > boundMs { return "the consumer has not been polled for \(sight.pollMs) ms" }
        for lane in sight.lanes {
            if lane.turnMs > boundMs {
                return "the lane of partition \(lane.partition) has not turned for \(lane.turnMs) ms"
            }
            if let sent = lane.oldestSentMs, sent > boundMs {
                return "a push of partition \(lane.partition) has had no answer for \(sent) ms"
            }
        }
        return nil
    }
}

/// Why a dispatcher ended by itself.
public enum DispatcherError: Error, CustomStringConvertible, Sendable {
    /// Something stood still for longer than the watchdog's bound; the text says what.
    case stalled(String)
    /// The Kafka client is of no more use.
    case kafka(KafkaError)
    /// The consumer's events ended without anybody having asked for it.
    case consumerEnded

    public var description: String {
        switch self {
        case .stalled(let what): "the dispatcher stands still: \(what)"
        case .kafka(let error): "the dispatcher's Kafka client failed for good: \(error)"
        case .consumerEnded: "the dispatcher's consumer ended by itself"
        }
    }
}
