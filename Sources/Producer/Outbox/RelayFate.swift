import ChallengeStore
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

    /// Codes that speak of the record itself.
    private static let refusals: Set<String> = ["_INVALID_ARG", "_BAD_MSG", "INVALID_RECORD", "INVALID_TIMESTAMP"]
    /// Codes that a broker answers to a whole batch: a small record among them is not to blame.
    private static let sizeRefusals: Set<String> = ["MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE"]
    private static let smallBytes = 64 * 1024

    /// - Parameters:
    ///   - bytes: of the row's value.
    ///   - isDeadLetter: the row was on its way to `dead-letters` already.
    ///
    /// Everything that is not known to be the record's own fault is `failed`: a topic that is missing or a right that was not
    /// granted is put right by people, and the rows have to be there then.
    init(_ error: KafkaError, bytes: Int, isDeadLetter: Bool) {
        let isRefused =
            Self.refusals.contains(error.code) || Self.sizeRefusals.contains(error.code) && bytes > Self.smallBytes
        self = !isRefused ? .failed : isDeadLetter ? .abandoned : .refused
    }
}
