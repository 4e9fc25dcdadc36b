import CRdKafka
import Foundation
public import Logging
import Synchronization
import Wire

/// A member of a consumer group with one queue per partition. It has one librdkafka handle, and its own thread that
/// polls it.
/// A rebalance is an event that the owner answers after draining, while polling continues. Settings: `range`, eager,
/// `auto.offset.reset=earliest`, no auto commit, partition-EOF on.
public final class KafkaConsumer: Sendable {
    /// Nil after the group was left and the polling thread has ended.
    let open: Mutex<RDKafkaHandle?>
    let logger: Logger
    let isMember: Bool
    private let watchInterval: Duration
    let isClosing = Atomic(false)
    let lastFault = Mutex<ContinuousClock.Instant?>(nil)
    let readers = Mutex<[TopicPartition: PartitionReader]>([:])
    /// The marks of partitions that were read before, to recognise their logs.
    private let marks = Mutex<[TopicPartition: LogMark]>([:])
    /// Counts the beginnings and ends of assignments.
    let generation = Atomic(0)
    /// True when a reader has found another log.
    let isRewritten = Atomic(false)
    let continuation: AsyncStream<ConsumerEvent>.Continuation
    let finished = Mutex<(done: Bool, waiters: [Once<Void>])>((false, []))
    /// True when ``events`` has no reader any more, because a cancelled reader ends the stream.
    let isUnread = Atomic(false)
    let lastPolledNs = Atomic(DispatchTime.now().uptimeNanoseconds)

    /// Rebalances and faults in order; ends after ``close(deadline:)``. It has one reader. The stream has no limit of
    /// its own, but few events arrive: librdkafka has at most one outstanding rebalance, which must never be dropped,
    /// and at most one fault a second that is not fatal is passed on.
    public let events: AsyncStream<ConsumerEvent>

    /// Joins the group. In a known ``KafkaConfiguration/place`` it first waits until the member that died there is out of
    /// the group. All results arrive through ``events``.
    /// - Throws: an error when librdkafka refuses a property or, without a place, the names of the topics.
    public convenience init(
        configuration: KafkaConfiguration, groupID: String, topics: [String], logger: Logger
    ) throws(KafkaError) {
        let handle = try Self.handle(
            configuration, properties: configuration.memberProperties(groupID: groupID), groupID: groupID,
            logger: logger)
        try self.init(handle, isMember: true, configuration, logger)
        if let clientID = configuration.ownClientID {
            startPolling(
                handle,
                beginning: .join(
                    topics, groupID: groupID, clientID: clientID, atMost: configuration.sessionTimeout + .seconds(2),
                    unanswered: configuration.mostUnanswered))
        } else {
            // No thread polls yet, so the handle ends with this object.
            try subscribe(topics, handle)
            startPolling(handle)
        }
    }

    /// Reads all partitions of the topics without a group, from the positions of ``Assignment/accept(from:)``. One
    /// `assigned` event arrives, and nothing is committed. Used for `configuration`, which every worker reads
    /// completely and then follows.
    public convenience init(configuration: KafkaConfiguration, following topics: [String], logger: Logger)
        throws(KafkaError)
    {
        // librdkafka wants a name of a group from every consumer. There is no such group, and no right to it is needed.
        let name = "beckon-follower-\(UUID().uuidString)"
        let handle = try Self.handle(
            configuration, properties: configuration.consumerProperties(groupID: name), groupID: nil, logger: logger)
        try self.init(handle, isMember: false, configuration, logger)
        startPolling(handle, beginning: .discover(topics))
    }

    private static func handle(
        _ configuration: KafkaConfiguration, properties: [(String, String)], groupID: String?, logger: Logger
    ) throws(KafkaError) -> RDKafkaHandle {
        try RDKafkaHandle(
            type: RD_KAFKA_CONSUMER, properties: properties, diagnosis: configuration.diagnosis, groupID: groupID,
            logger: logger
        ) { conf in
            rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR)
        }
    }

    private init(
        _ handle: RDKafkaHandle, isMember: Bool, _ configuration: KafkaConfiguration, _ logger: Logger
    ) throws(KafkaError) {
        self.logger = logger
        watchInterval = configuration.watchInterval
        self.isMember = isMember
        (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .unbounded)
        open = Mutex(handle)
        let code = rd_kafka_poll_set_consumer(handle.pointer)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, "a group member") }
        continuation.onTermination = { [weak self] _ in self?.isUnread.store(true, ordering: .releasing) }
    }

    private func openHandle() throws(KafkaError) -> RDKafkaHandle {
        guard let handle = open.withLock({ $0 }) else { throw .closed }
        return handle
    }

    /// Time since the last turn of the polling thread, which turns every 50 ms. Used by a watchdog, because librdkafka
    /// 2.0.2 does not notice that polling has stopped (any queue that is polled resets `max.poll.interval.ms`).
    public var pollAge: Duration {
        let now = DispatchTime.now().uptimeNanoseconds
        let last = lastPolledNs.load(ordering: .relaxed)
        return .nanoseconds(now > last ? Int64(clamping: now - last) : 0)
    }

    /// The committed position and metadata per partition; nil where the group never committed.
    public func committed(
        _ partitions: [TopicPartition], deadline: Duration
    ) async throws(KafkaError) -> [TopicPartition: CommittedOffset?] {
        let milliseconds = deadline.timeoutMs
        let answer: Result<[TopicPartition: CommittedOffset?], KafkaError>? = try await openHandle().offPool(
            deadline: deadline + .seconds(1)
        ) { handle in
            let list = PartitionList(capacity: partitions.count)
            for partition in partitions { list.add(partition) }
            let code = rd_kafka_committed(handle, list.pointer, milliseconds)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                return .failure(KafkaError(code, "read committed offsets"))
            }
            var found: [TopicPartition: CommittedOffset?] = [:]
            var failure: KafkaError?
            list.forEach { partition, entry in
                if entry.err != RD_KAFKA_RESP_ERR_NO_ERROR {
                    failure = KafkaError(entry.err, "committed offset of \(partition)")
                }
                let metadata = UnsafeRawBufferPointer(
                    start: entry.metadata, count: entry.metadata == nil ? 0 : entry.metadata_size)
                found[partition] = .some(
                    entry.offset < 0
                        ? nil
                        : CommittedOffset(offset: entry.offset, metadata: String(decoding: metadata, as: UTF8.self)))
            }
            if let failure { return .failure(failure) }
            return .success(found)
        }
        guard let answer else { throw .deadline("read committed offsets") }
        return try answer.get()
    }

    /// Commits and waits for the coordinator's answer. A refusal inside a rebalance is normal and thrown as retriable.
    public func commit(_ offsets: [TopicPartition: CommittedOffset], deadline: Duration) async throws(KafkaError) {
        guard !offsets.isEmpty else { return }
        let answer: Result<Void, KafkaError>? = try await openHandle().offPool(deadline: deadline) { handle in
            let list = PartitionList(capacity: offsets.count)
            for (partition, committed) in offsets {
                let entry = list.add(partition)
                entry.pointee.offset = committed.offset
                var metadata = committed.metadata
                metadata.withUTF8 { beckon_set_metadata(entry, $0.baseAddress, $0.count) }
            }
            let code = rd_kafka_commit(handle, list.pointer, 0)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { return .failure(KafkaError(code, "commit")) }
            var failure: KafkaError?
            list.forEach { partition, entry in
                if entry.err != RD_KAFKA_RESP_ERR_NO_ERROR { failure = KafkaError(entry.err, "commit of \(partition)") }
            }
            return failure.map { .failure($0) } ?? .success(())
        }
        guard let answer else { throw .deadline("commit") }
        try answer.get()
    }

    /// The current end of each partition (the offset that the next record will get), in one query.
    public func endOffsets(
        _ partitions: [TopicPartition], deadline: Duration
    ) async throws(KafkaError) -> [TopicPartition: Int64] {
        // The protocol's ListOffsets accepts -1 instead of a time for "end". The embedded broker supports this too.
        try await offsets(Dictionary(uniqueKeysWithValues: partitions.map { ($0, -1) }), deadline: deadline)
            .mapValues { max(0, $0) }
    }

    /// The offset of the oldest record that each partition still has, or would have, in one query.
    public func beginningOffsets(
        _ partitions: [TopicPartition], deadline: Duration
    ) async throws(KafkaError) -> [TopicPartition: Int64] {
        // -2 instead of a time means "beginning".
        try await offsets(Dictionary(uniqueKeysWithValues: partitions.map { ($0, -2) }), deadline: deadline)
            .mapValues { max(0, $0) }
    }

    /// The first offset of each partition whose record has at least that timestamp, in one query; below 0 when there is
    /// none.
    private func offsets(
        _ times: [TopicPartition: Int64], deadline: Duration
    ) async throws(KafkaError) -> [TopicPartition: Int64] {
        guard !times.isEmpty else { return [:] }
        let milliseconds = deadline.timeoutMs
        let answer: Result<[TopicPartition: Int64], KafkaError>? = try await openHandle().offPool(
            deadline: deadline + .seconds(1)
        ) { handle in
            let list = PartitionList(capacity: times.count)
            for (partition, time) in times { list.add(partition).pointee.offset = time }
            let code = rd_kafka_offsets_for_times(handle, list.pointer, milliseconds)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { return .failure(KafkaError(code, "end offsets")) }
            var ends: [TopicPartition: Int64] = [:]
            var failure: KafkaError?
            list.forEach { partition, entry in
                if entry.err != RD_KAFKA_RESP_ERR_NO_ERROR {
                    failure = KafkaError(entry.err, "end offset of \(partition)")
                }
                ends[partition] = entry.offset
            }
            if let failure { return .failure(failure) }
            return .success(ends)
        }
        guard let answer else { throw .deadline("end offsets") }
        return try answer.get()
    }

    /// Checks every ``KafkaConfiguration/watchInterval``, until cancelled, whether the logs are still the same, and emits
    /// ``ConsumerEvent/rewritten(_:)`` when one is not. Without this check, only a record or an end below the position
    /// shows it.
    public func watchLogs() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: watchInterval)
            for (_, readers) in Dictionary(grouping: readers.withLock({ Array($0.values) }), by: \.topicPartition.topic)
            {
                // An unavailable topic answers for none of its partitions. This says nothing about other topics.
                try? await compare(readers)
            }
        }
    }

    private func compare(_ readers: [PartitionReader]) async throws(KafkaError) {
        let asked = Dictionary(uniqueKeysWithValues: readers.map { ($0.topicPartition, $0.mark) })
        let ends = try await endOffsets(Array(asked.keys), deadline: .seconds(2))
        // A partition from which nothing was read has no time to query.
        let times = asked.filter { $0.value.newestMs > 0 }.mapValues { $0.newestMs + 1 }
        let younger = try await offsets(times, deadline: .seconds(2))
        for reader in readers {
            guard let mark = asked[reader.topicPartition], let end = ends[reader.topicPartition] else { continue }
            reader.compare(
                end: end, firstYounger: younger[reader.topicPartition].flatMap { $0 < 0 ? nil : $0 }, asked: mark)
        }
    }

    /// Leaves the group. A last `revoked` event arrives first and must be answered. The wait ends at the deadline.
    public func close(deadline: Duration) async {
        isClosing.store(true, ordering: .releasing)
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let once = Once(continuation)
            let isDone = finished.withLock { finished in
                if !finished.done { finished.waiters.append(once) }
                return finished.done
            }
            if isDone { once.resume(()) }
            DispatchQueue.global().asyncAfter(deadline: .now() + deadline.inSeconds) { once.resume(()) }
        }
        // A revocation without an answer prevents the handle from closing. The process ends soon after, and the session
        // timeout frees the partitions.
        continuation.finish()
    }
}

// MARK: - Rebalance

extension KafkaConsumer {
    func assign(
        _ partitions: [TopicPartition], from starts: [TopicPartition: StartOffset]
    ) async throws(KafkaError) -> [TopicPartition: PartitionReader] {
        let handle = try openHandle()
        closeReaders()
        var fresh: [TopicPartition: PartitionReader] = [:]
        for partition in partitions {
            fresh[partition] = try PartitionReader(
                topicPartition: partition, consumer: handle, mark: mark(of: partition, start: starts[partition])
            ) { [weak self] in self?.isRewritten.store(true, ordering: .releasing) }
        }
        let opened = fresh
        // Whoever ends the polling closes what it finds here: nothing is put here afterwards.
        let former = try readers.withLock { readers throws(KafkaError) in
            guard !finished.withLock({ $0.done }) else { throw .closed }
            defer { readers = opened }
            return readers
        }
        for reader in former.values { reader.close() }
        let code = await handle.offPool(deadline: .seconds(10)) { handle in
            let list = PartitionList(capacity: partitions.count)
            for partition in partitions {
                list.add(partition).pointee.offset =
                    switch starts[partition] {
                    case .beginning: Int64(RD_KAFKA_OFFSET_BEGINNING)
                    case .end: Int64(RD_KAFKA_OFFSET_END)
                    case .at(let offset): offset
                    case nil: Int64(RD_KAFKA_OFFSET_STORED)
                    }
            }
            return rd_kafka_assign(handle, list.pointer).rawValue
        }
        guard let code else { throw .deadline("assign") }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR.rawValue else {
            throw KafkaError(rd_kafka_resp_err_t(rawValue: code), "assign")
        }
        handle.isWell(.group)
        return opened
    }

    /// What is known of the log where it is read on; a new start is a new mark.
    private func mark(of partition: TopicPartition, start: StartOffset?) -> LogMark {
        var mark = marks.withLock { $0.removeValue(forKey: partition) } ?? LogMark(start: 0)
        if mark.isRewritten { mark = LogMark(start: 0) }
        // A position that the broker knows is not known here, so nothing can lie below it.
        if case .at(let offset) = start { mark.move(to: offset) } else { mark.move(to: 0) }
        return mark
    }

    func unassign() async {
        closeReaders()
        guard let handle = open.withLock({ $0 }) else { return }
        _ = await handle.offPool(deadline: .seconds(10)) { rd_kafka_assign($0, nil).rawValue }
    }

    func closeReaders() {
        generation.add(1, ordering: .acquiringAndReleasing)
        let closed = readers.withLock { readers in
            defer { readers = [:] }
            return readers
        }
        for reader in closed.values { reader.close() }
        marks.withLock { marks in for (partition, reader) in closed { marks[partition] = reader.mark } }
    }
}
