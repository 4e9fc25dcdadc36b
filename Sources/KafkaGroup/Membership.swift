public import KafkaClient
public import Logging
import Wire

/// Why a member stops serving its partitions.
public enum HandOver: Sendable {
    /// They go to another member next: drain, and commit what is done.
    case revoked
    /// Another member has them already: drop what is under way, and commit nothing.
    case lost
    /// The logs of these are not the ones that were read, and all partitions begin anew: drain, and commit no old
    /// position of these.
    case rewritten(Set<TopicPartition>)

    /// Partitions whose positions say nothing any more.
    public var rewritten: Set<TopicPartition> { if case .rewritten(let partitions) = self { partitions } else { [] } }
}

extension ConsumerEvent {
    /// The kind of a change of membership, for a counter: `assigned`, `revoked`, `lost`; nil for the other events.
    public var membershipChange: String? {
        switch self {
        case .assigned: "assigned"
        case .revoked: "revoked"
        case .lost: "lost"
        case .rewritten, .fault: nil
        }
    }

    /// What every member of a group does at an event, in the only right order: what was served ends first, and only
    /// then the group is told. Call it for one event at a time, in their order.
    /// - Parameters:
    ///   - begin: takes an assignment over; it answers with ``Assignment/accept(from:)`` or ``Assignment/refuse()``.
    ///   - end: stops serving; it returns when nothing of these partitions is under way.
    /// - Throws: what `begin` throws, and a ``KafkaError`` when the consumer is of no more use.
    public func answer(
        logger: Logger, begin: (Assignment) async throws -> Void, end: (HandOver) async -> Void
    ) async throws {
        switch self {
        case .assigned(let assignment):
            try await begin(assignment)
        case .revoked(let revocation):
            let began = ContinuousClock.now
            await end(.revoked)
            await revocation.accept()
            // No member of the group serves a partition before each of them has handed its partitions over.
            let took = (ContinuousClock.now - began).wholeMilliseconds
            logger.info(
                "partitions handed over",
                metadata: ["partitions": "\(revocation.partitions.count)", "ms": "\(took)"])
        case .lost(let revocation):
            await end(.lost)
            await revocation.accept()
            logger.warning("partitions lost", metadata: ["partitions": "\(revocation.partitions.count)"])
        case .rewritten(let assignment):
            // Handed over meanwhile: whoever takes them over finds the new logs.
            guard assignment.isCurrent else { return }
            logger.error(
                "topics were made anew, or cut: these partitions are read from their start",
                metadata: ["partitions": "\(assignment.rewritten.sorted())"])
            await end(.rewritten(assignment.rewritten))
            try await begin(assignment)
        case .fault(let error):
            logger.debug("kafka", metadata: ["error": "\(error)"])
            if error.isFatal { throw error }
        }
    }
}

extension KafkaConsumer {
    /// The group's positions, asked for again while the coordinator does not answer: without them nobody knows where to
    /// begin.
    /// - Parameters:
    ///   - deadline: of each attempt.
    ///   - mayAsk: called before each attempt, with the number of those that failed.
    /// - Returns: nil where the group never committed a partition.
    /// - Throws: the last failure, when `mayAsk` says no.
    public func committed(
        _ partitions: [TopicPartition], deadline: Duration, logger: Logger, mayAsk: (_ failures: Int) -> Bool
    ) async throws(KafkaError) -> [TopicPartition: CommittedOffset?] {
        guard !partitions.isEmpty else { return [:] }
        var failure = KafkaError(code: "_CLOSED", reason: "stopped before the committed offsets were read")
        var failures = 0
        var backoff = Backoff(first: .milliseconds(200), most: .seconds(1))
        while mayAsk(failures) {
            do { return try await committed(partitions, deadline: deadline) } catch {
                // Asking this handle again is of no use; its event says so to its owner.
                guard !error.isFatal, error.code != "_CLOSED" else { throw error }
                failure = error
                failures += 1
                logger.warning("the committed offsets cannot be read", metadata: ["error": "\(error)"])
            }
            guard await backoff.wait() else { break }
        }
        throw failure
    }
}
