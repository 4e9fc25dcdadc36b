import CRdKafka
import Foundation
import Synchronization

/// An item from a partition's queue.
public enum PartitionItem: Sendable {
    case record(ConsumedRecord)
    /// Everything below this offset has been returned. More items may follow.
    case endOfPartition(Int64)
}

/// The queue of one assigned partition. It is not forwarded to the consumer's queue, so a reader that does not ask for
/// records does not slow down other readers.
public final class PartitionReader: Sendable {
    public let topicPartition: TopicPartition
    /// Nil after the reader was closed.
    private let queue: Mutex<PartitionQueue?>
    /// The mark of the log.
    private let seen: Mutex<LogMark>
    private let onRewritten: @Sendable () -> Void
    private let arrivals: ArrivalSignal

    /// Takes the partition's queue out of the consumer's, which must happen before the assignment: librdkafka then
    /// leaves it alone.
    /// - Parameters:
    ///   - mark: the mark of the same log, from an earlier reader or from the start of reading.
    ///   - onRewritten: called when the log turns out to be another one. Nothing is returned after that. It must only
    ///     signal.
    init(
        topicPartition: TopicPartition, consumer: RDKafkaHandle, mark: LogMark,
        onRewritten: @escaping @Sendable () -> Void
    ) throws(KafkaError) {
        self.topicPartition = topicPartition
        seen = Mutex(mark)
        self.onRewritten = onRewritten
        arrivals = ArrivalSignal()
        queue = Mutex(try PartitionQueue(of: topicPartition, consumer: consumer, arrivals: arrivals))
    }

    /// Waits for records and returns those that are available, in order. Only one caller at a time.
    /// - Parameter max: 1 or more records at the most.
    /// - Returns: at least one item; nil when the partition was handed over or the consumer closed, or the task
    ///   cancelled.
    public func next(max: Int) async -> [PartitionItem]? {
        while true {
            guard let items = drain(max: max) else { return nil }
            if !items.isEmpty { return items }
            // An arrival between the drain and here is kept by the signal.
            guard await arrivals.wait() else { return nil }
        }
    }

    /// The items that are available now, in order, without waiting. For a reader of several queues, see
    /// ``forwardArrivals(to:)``.
    /// - Parameter max: 1 or more records at the most.
    /// - Returns: nil when the partition was handed over or the consumer closed.
    public func available(max: Int) -> [PartitionItem]? { drain(max: max) }

    /// From now on every arrival, and the end of this reader, fires `signal` as well, so that one task can wait for
    /// several readers. Fires once at once, for what has arrived before. librdkafka signals only an arrival in an empty
    /// queue. A reader that left items in the queue must ask again without a signal.
    public func forwardArrivals(to signal: ArrivalSignal) { arrivals.forward(to: signal) }

    /// The current mark of the log.
    var mark: LogMark { seen.withLock { $0 } }

    /// Kafka has answered where the log ends, see ``LogMark/compare(end:firstYounger:asked:)``.
    func compare(end: Int64, firstYounger: Int64?, asked mark: LogMark) {
        _ = isSameLog { $0.compare(end: end, firstYounger: firstYounger, asked: mark) }
    }

    /// Ends the reader and gives the queue back.
    func close() {
        queue.withLock { $0 = nil }
        arrivals.end()
    }

    private func drain(max: Int) -> [PartitionItem]? {
        queue.withLock { queue in
            guard let queue else { return nil }
            guard !seen.withLock({ $0.isRewritten }) else { return [] }
            var items: [PartitionItem] = []
            while items.count < max, let message = rd_kafka_consume_queue(queue.pointer, 0) {
                defer { rd_kafka_message_destroy(message) }
                switch message.pointee.err {
                case RD_KAFKA_RESP_ERR_NO_ERROR:
                    let record = record(of: message)
                    guard isSameLog({ $0.read(offset: record.offset, timestampMs: record.timestampMs) }) else {
                        return items
                    }
                    items.append(.record(record))
                case RD_KAFKA_RESP_ERR__PARTITION_EOF:
                    let offset = message.pointee.offset
                    guard isSameLog({ $0.reachedEnd(offset) }) else { return items }
                    items.append(.endOfPartition(offset))
                // librdkafka goes on by itself; a missing right is told here and nowhere else.
                default: queue.consumer.note(KafkaError(message.pointee.err, "fetch"), topic: topicPartition.topic)
                }
            }
            if !items.isEmpty { queue.consumer.isWell(.topic(topicPartition.topic)) }
            return items
        }
    }

    private func isSameLog(_ change: (inout LogMark) -> Void) -> Bool {
        let isRewritten = seen.withLock { mark in
            change(&mark)
            return mark.isRewritten
        }
        if isRewritten { onRewritten() }
        return !isRewritten
    }

    private func record(of message: UnsafeMutablePointer<rd_kafka_message_t>) -> ConsumedRecord {
        var kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        let timestamp = rd_kafka_message_timestamp(message, &kind)
        var headers: [RecordHeader] = []
        var list: OpaquePointer?
        if rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR, let list {
            var index = 0
            var name: UnsafePointer<CChar>?
            var value: UnsafeRawPointer?
            var size = 0
            while rd_kafka_header_get_all(list, index, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR,
                let key = name
            {
                headers.append(RecordHeader(String(cString: key), Self.bytes(value, size)))
                index += 1
            }
        }
        return ConsumedRecord(
            topicPartition: topicPartition, offset: message.pointee.offset, timestampMs: timestamp,
            key: Self.bytes(message.pointee.key, message.pointee.key_len),
            value: Self.bytes(message.pointee.payload, message.pointee.len), headers: headers)
    }

    private static func bytes(_ pointer: UnsafeRawPointer?, _ count: Int) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: pointer, count: pointer == nil ? 0 : count))
    }
}

/// Owns the queue of one partition, and holds what it needs: the handle it belongs to, and the signal that it fires.
///
/// `@unchecked Sendable`: the pointer is only used under its reader's lock.
private final class PartitionQueue: @unchecked Sendable {
    let pointer: OpaquePointer
    let consumer: RDKafkaHandle
    private let arrivals: ArrivalSignal

    init(of partition: TopicPartition, consumer: RDKafkaHandle, arrivals: ArrivalSignal) throws(KafkaError) {
        guard let pointer = rd_kafka_queue_get_partition(consumer.pointer, partition.topic, partition.partition) else {
            throw KafkaError(code: "_UNKNOWN_PARTITION", reason: "no queue for \(partition)")
        }
        self.pointer = pointer
        self.consumer = consumer
        self.arrivals = arrivals
        rd_kafka_queue_forward(pointer, nil)
        rd_kafka_queue_cb_event_enable(
            pointer,
            { _, opaque in
                guard let opaque else { return }
                Unmanaged<ArrivalSignal>.fromOpaque(opaque).takeUnretainedValue().fire()
            }, Unmanaged.passUnretained(arrivals).toOpaque())
    }

    deinit {
        // Under the queue's own lock librdkafka calls the callback; once this returns none is running.
        rd_kafka_queue_cb_event_enable(pointer, nil, nil)
        rd_kafka_queue_destroy(pointer)
    }
}
