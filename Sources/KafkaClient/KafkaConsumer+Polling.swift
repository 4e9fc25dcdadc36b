import CRdKafka
import Foundation
import Logging
import Synchronization

/// The polling thread.
extension KafkaConsumer {
    /// What the thread does first.
    enum Beginning: Sendable {
        case nothing
        /// Finds the partitions of these topics, and reports them as assigned.
        case discover([String])
        /// Subscribes to these topics, once the group has no member with that client id, or after these times.
        case join([String], groupID: String, clientID: String, atMost: Duration, unanswered: Duration)
    }

    /// Serves the consumer's queue until it is closed. The thread holds us and the handle until then.
    func startPolling(_ handle: RDKafkaHandle, beginning: Beginning = .nothing) {
        let thread = Thread { [self] in
            poll(handle, beginning)
            continuation.finish()
            // Once this is said no reader is added, see `assign`.
            let waiters = finished.withLock { finished in
                finished.done = true
                defer { finished.waiters = [] }
                return finished.waiters
            }
            closeReaders()
            open.withLock { $0 = nil }
            for waiter in waiters { waiter.resume(()) }
        }
        thread.name = "beckon-kafka-consumer"
        thread.start()
    }

    private func poll(_ handle: RDKafkaHandle, _ beginning: Beginning) {
        // A handle that was made a consumer's has one.
        guard let queue = rd_kafka_queue_get_consumer(handle.pointer) else { return }
        defer { rd_kafka_queue_destroy(queue) }
        switch beginning {
        case .nothing: break
        case .discover(let topics): discover(topics, handle)
        case .join(let topics, let groupID, let clientID, let bound, let unanswered):
            awaitDeparture(of: clientID, from: groupID, atMost: bound, unanswered: unanswered, handle)
            do throws(KafkaError) {
                if !isClosing.load(ordering: .acquiring) { try subscribe(topics, handle) }
            } catch {
                continuation.yield(
                    .fault(KafkaError(code: error.code, reason: error.reason, isFatal: true)))
            }
        }
        var isLeaving = false
        var isReleased = false
        while !(isLeaving && (!isMember || rd_kafka_consumer_closed(handle.pointer) != 0)) {
            lastPolledNs.store(DispatchTime.now().uptimeNanoseconds, ordering: .relaxed)
            if let event = rd_kafka_queue_poll(queue, 50) {
                serve(event, handle)
                rd_kafka_event_destroy(event)
            }
            if !isLeaving, isRewritten.exchange(false, ordering: .acquiringAndReleasing) { tellRewritten() }
            // A rebalance may be waiting for an owner who is gone; without an answer the group is never left.
            if isLeaving, isMember, !isReleased, isUnread.load(ordering: .acquiring) {
                isReleased = true
                rd_kafka_assign(handle.pointer, nil)
            }
            if !isLeaving, isClosing.load(ordering: .acquiring) {
                isLeaving = true
                if isMember, let error = rd_kafka_consumer_close_queue(handle.pointer, queue) {
                    rd_kafka_error_destroy(error)
                }
            }
        }
    }

    private func serve(_ event: OpaquePointer, _ handle: RDKafkaHandle) {
        switch rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_REBALANCE:
            var partitions: [TopicPartition] = []
            rd_kafka_event_topic_partition_list(event)?.pointee.forEach { partition, _ in partitions.append(partition) }
            switch rd_kafka_event_error(event) {
            case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
                tell(.assigned(Assignment(partitions: partitions.sorted(), consumer: self)), handle)
            case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
                let revocation = Revocation(partitions: partitions.sorted(), consumer: self)
                let isLost = rd_kafka_assignment_lost(handle.pointer) != 0
                tell(isLost ? .lost(revocation) : .revoked(revocation), handle)
            case let code:
                rd_kafka_assign(handle.pointer, nil)
                continuation.yield(.fault(KafkaError(code, "rebalance")))
            }
        case RD_KAFKA_EVENT_ERROR:
            let reason = rd_kafka_event_error_string(event).map { String(cString: $0) } ?? "unknown"
            let error = KafkaError(rd_kafka_event_error(event), reason)
            handle.note(error, topic: nil)
            logger.debug("kafka", metadata: ["error": "\(error)"])
            let isDue = lastFault.withLock { last in
                guard error.isFatal || last.map({ ContinuousClock.now - $0 >= .seconds(1) }) ?? true else {
                    return false
                }
                last = .now
                return true
            }
            if isDue { continuation.yield(.fault(error)) }
        default:
            break
        }
    }

    /// Hands a rebalance to the owner; answers it ourselves when there is none any more.
    private func tell(_ event: ConsumerEvent, _ handle: RDKafkaHandle) {
        if case .terminated = continuation.yield(event) { rd_kafka_assign(handle.pointer, nil) }
    }

    private func tellRewritten() {
        let readers = readers.withLock { $0 }
        let rewritten = readers.filter { $0.value.mark.isRewritten }.keys
        guard !rewritten.isEmpty else { return }
        continuation.yield(
            .rewritten(
                Assignment(
                    partitions: readers.keys.sorted(), rewritten: Set(rewritten), consumer: self,
                    generation: generation.load(ordering: .acquiring))))
    }

    func subscribe(_ topics: [String], _ handle: RDKafkaHandle) throws(KafkaError) {
        let list = PartitionList(capacity: topics.count)
        for topic in topics { list.add(TopicPartition(topic: topic, partition: -1)) }
        let code = rd_kafka_subscribe(handle.pointer, list.pointer)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, "subscribe to \(topics)") }
    }

    /// Waits while the group has a member with that client id, which died, beside members that live. If we joined now,
    /// the coordinator would take the partitions from all of them, and give none out until the dead member's session has
    /// ended (decision 25). Where there is no other member, nobody would be disturbed, and joining is the fastest way.
    private func awaitDeparture(
        of clientID: String, from groupID: String, atMost bound: Duration, unanswered: Duration,
        _ handle: RDKafkaHandle
    ) {
        let start = ContinuousClock.now
        var said: Set<String> = []
        func say(_ level: Logger.Level, _ text: String, _ error: String? = nil) {
            guard said.insert(text).inserted else { return }
            var metadata: Logger.Metadata = ["group": "\(groupID)", "client": "\(clientID)"]
            if let error { metadata["error"] = "\(error)" }
            logger.log(level: level, "\(text)", metadata: metadata)
        }
        while !isClosing.load(ordering: .acquiring) {
            lastPolledNs.store(DispatchTime.now().uptimeNanoseconds, ordering: .relaxed)
            let waited = ContinuousClock.now - start
            switch KafkaInspection.listed(groupID, handle.pointer, 1000) {
            case .success(let group) where group?.error == nil:
                let members = (group?.members ?? []).map(\.clientID)
                guard members.contains(clientID), members.contains(where: { $0 != clientID }) else { return }
                guard waited < bound else {
                    return say(
                        .warning,
                        "another member of the group has this client id, and does not leave: joining beside it. Give each process another host name or admin port"
                    )
                }
                say(
                    .notice,
                    "an earlier member with this client id is still in the group: joining when its session has ended")
            case .success(let group):
                guard KafkaError.isPassing(group?.error), waited < unanswered else { return }
                say(.notice, "the members of the group are not known yet: joining in some seconds", group?.error)
            case .failure(let error):
                guard KafkaError.isPassing(error.code), waited < unanswered else { return }
                say(.notice, "the members of the group are not known yet: joining in some seconds", error.code)
            }
            // A thread of our own: waiting here holds up nobody.
            Thread.sleep(forTimeInterval: 0.5)
        }
    }

    /// Finds the partitions of the topics, asking again while they or the brokers are not there yet.
    private func discover(_ topics: [String], _ handle: RDKafkaHandle) {
        var found: [TopicPartition] = []
        for topic in topics {
            guard let reference = rd_kafka_topic_new(handle.pointer, topic, nil) else { continue }
            defer { rd_kafka_topic_destroy(reference) }
            while !isClosing.load(ordering: .acquiring) {
                lastPolledNs.store(DispatchTime.now().uptimeNanoseconds, ordering: .relaxed)
                var metadata: UnsafePointer<rd_kafka_metadata>?
                let code = rd_kafka_metadata(handle.pointer, 0, reference, &metadata, 1000)
                guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else { continue }
                defer { rd_kafka_metadata_destroy(metadata) }
                let count = metadata.pointee.topics?.pointee.partition_cnt ?? 0
                if count > 0 {
                    found += (0..<count).map { TopicPartition(topic: topic, partition: $0) }
                    break
                }
                // A thread of our own: waiting here holds up nobody.
                Thread.sleep(forTimeInterval: 0.1)
            }
        }
        if !isClosing.load(ordering: .acquiring) {
            continuation.yield(.assigned(Assignment(partitions: found, consumer: self)))
        }
    }
}
