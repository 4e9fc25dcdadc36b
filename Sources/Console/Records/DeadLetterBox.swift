/// The records that no role could process, as the console shows and replays them. The executable provides it, because
/// the console itself knows no Kafka and no store.
public struct DeadLetterBox: Sendable {
    /// One record, without its content.
    public struct Letter: Sendable, Hashable {
        /// `PARTITION:OFFSET` in the topic of dead letters.
        public var id: String
        /// Epoch milliseconds.
        public var writtenAtMs: Int64
        /// The topic that it came from.
        public var topic: String
        /// A stable word.
        public var reason: String
        public var detail: String
        public var key: String
        public var byteCount: Int
        /// Why a replay would refuse it; nil: it can be replayed.
        public var refusal: String?

        public init(
            id: String, writtenAtMs: Int64, topic: String, reason: String, detail: String, key: String, byteCount: Int,
            refusal: String?
        ) {
            self.id = id
            self.writtenAtMs = writtenAtMs
            self.topic = topic
            self.reason = reason
            self.detail = detail
            self.key = key
            self.byteCount = byteCount
            self.refusal = refusal
        }
    }

    /// What to list. Nil: everything.
    public struct Filter: Sendable, Hashable {
        public var topic: String?
        public var reason: String?
        public var key: String?
    }

    /// The result for each record: nil when it was written back, else why not.
    public typealias Report = [(id: String, refusal: String?)]

    /// Writes an audit event. When it throws, the act must not be done.
    public typealias Audit =
        @Sendable (_ act: String, _ subject: String, _ reader: String) async throws -> Void

    let topics: [String]
    let list: @Sendable (Filter) async throws -> (letters: [Letter], isComplete: Bool)
    let audit: Audit
    let replay: @Sendable (_ ids: [String], _ replayID: String) async throws -> Report

    /// - Parameters:
    ///   - topics: what the filter offers.
    ///   - list: the newest records that fit, at most 200; `isComplete` is false when older ones were not read.
    ///   - audit: writes an audit event. When it throws, nothing is done.
    ///   - replay: writes the original records back, oldest first.
    public init(
        topics: [String], list: @escaping @Sendable (Filter) async throws -> (letters: [Letter], isComplete: Bool),
        audit: @escaping Audit,
        replay: @escaping @Sendable (_ ids: [String], _ replayID: String) async throws -> Report
    ) {
        self.topics = topics
        self.list = list
        self.audit = audit
        self.replay = replay
    }
}
