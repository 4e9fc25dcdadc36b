import Challenges
import KafkaClient

/// What became of a row that was sent.
enum RelayFate: Equatable {
    /// The broker has it.
    case acknowledged
    /// Not now: again later, in order.
    case failed
    /// This record will never be taken: to `dead-letters`.
    case refused
    /// `dead-letters` does not take it either: deleted, logged and counted, so that it does not come round for ever.
    case abandoned

    /// - Parameters:
    ///   - record: what was sent.
    ///   - isDeadLetter: the row was on its way to `dead-letters` already.
    init(_ error: KafkaError, of record: ProducerRecord, isDeadLetter: Bool) {
        self = !error.isRefusal(of: record) ? .failed : isDeadLetter ? .abandoned : .refused
    }
}
