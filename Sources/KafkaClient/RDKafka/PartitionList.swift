import CRdKafka

/// Owns one `rd_kafka_topic_partition_list_t`.
struct PartitionList: ~Copyable {
    let pointer: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

    init(capacity: Int) { pointer = rd_kafka_topic_partition_list_new(Int32(capacity)) }

    deinit { rd_kafka_topic_partition_list_destroy(pointer) }

    /// - Returns: the entry, to set offset and metadata.
    @discardableResult
    func add(_ partition: TopicPartition) -> UnsafeMutablePointer<rd_kafka_topic_partition_t> {
        rd_kafka_topic_partition_list_add(pointer, partition.topic, partition.partition)
    }

    func forEach(_ body: (TopicPartition, rd_kafka_topic_partition_t) -> Void) { pointer.pointee.forEach(body) }
}

extension rd_kafka_topic_partition_list_t {
    func forEach(_ body: (TopicPartition, rd_kafka_topic_partition_t) -> Void) {
        for index in 0..<Int(cnt) {
            body(
                TopicPartition(topic: String(cString: elems[index].topic), partition: elems[index].partition),
                elems[index])
        }
    }
}
