import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// The next step of a lane.
enum LaneStep: Sendable {
    case send(UInt64, Push)
    case write(UInt64, LaneWrite)
    /// For the counters: a push was answered.
    case answered(AnsweredPush)
    case dropped(DropReason)
    /// For the counters: an attempt after the first waits until its lane has read the facts.
    case held
    /// For the counters: it has waited too long and is sent without them.
    case unsure
}

/// What the counters learn of an answer.
struct AnsweredPush: Sendable {
    let platform: Platform
    let kind: PushKind
    let disposition: Disposition
    /// From the headers of the request to the answer; nil when no request was sent.
    var tookMs: Int64?
    /// From the creation of the challenge; nil unless its first visible push was accepted.
    var acceptedAfterMs: Int64?
}

/// A write that must be acknowledged before its record is done.
enum LaneWrite: Sendable {
    case outcome(PushOutcome, traceparent: String?)
    case deadLetter(ConsumedRecord, reason: String, detail: String)
    /// The same bytes and headers, for the partition of the key.
    case repost(ConsumedRecord)
}

extension LaneWrite {
    /// The trace context of an outcome; nil for other writes.
    var traceparent: String? { if case .outcome(_, let context) = self { context } else { nil } }

    private static let cutBytes = 64 * 1024

    /// A shortened form that fits into a record: without other headers, with key and value cut.
    func cut() -> LaneWrite {
        switch self {
        case .outcome: self
        case .deadLetter(let record, let reason, let detail):
            .deadLetter(Self.cut(record), reason: reason, detail: detail)
        case .repost(let record):
            .deadLetter(
                Self.cut(record), reason: "size", detail: "misplaced, and too large to be written to its partition")
        }
    }

    private static func cut(_ record: ConsumedRecord) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: record.topicPartition, offset: record.offset, timestampMs: record.timestampMs,
            key: Array(record.key.prefix(1024)), value: Array(record.value.prefix(cutBytes)),
            headers: record.headers.filter { $0.name == ContentType.headerName && $0.value.count < 100 })
    }
}
