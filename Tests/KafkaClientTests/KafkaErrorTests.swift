import KafkaClient
import Testing

@Suite("Kafka errors")
struct KafkaErrorTests {
    private func record(key: Int = 0, value: Int = 0, header: Int = 0) -> ProducerRecord {
        func bytes(_ count: Int) -> [UInt8] { Array(repeating: 0, count: count) }
        return ProducerRecord(
            topic: "t", key: bytes(key), value: bytes(value),
            headers: header == 0 ? [] : [RecordHeader("h", bytes(header))])
    }

    @Test(
        "the record is to blame for what is wrong with it; for its size only when it was alone in its batch",
        arguments: [
            // Ours to bear: the cluster, rights, topics, our own handle.
            ("_MSG_TIMED_OUT", 70_000, false), ("_TRANSPORT", 70_000, false), ("_CLOSED", 70_000, false),
            ("_FATAL", 70_000, false), ("_QUEUE_FULL", 70_000, false), ("UNKNOWN_TOPIC_OR_PART", 70_000, false),
            ("TOPIC_AUTHORIZATION_FAILED", 70_000, false), ("NOT_ENOUGH_REPLICAS", 70_000, false),
            // The record's.
            ("_INVALID_ARG", 1, true), ("_BAD_MSG", 1, true), ("INVALID_RECORD", 1, true),
            ("INVALID_TIMESTAMP", 1, true),
            // Its batch's.
            ("MSG_SIZE_TOO_LARGE", 65_536, false), ("MSG_SIZE_TOO_LARGE", 65_537, true),
            ("INVALID_MSG_SIZE", 65_536, false), ("INVALID_MSG_SIZE", 65_537, true),
            ("RECORD_LIST_TOO_LARGE", 65_536, false), ("RECORD_LIST_TOO_LARGE", 65_537, true),
        ])
    func refusals(code: String, bytes: Int, isRefusal: Bool) {
        #expect(KafkaError(code: code, reason: "").isRefusal(of: record(value: bytes)) == isRefusal)
    }

    @Test("the size is that of the whole record, not of its value")
    func size() {
        let error = KafkaError(code: "MSG_SIZE_TOO_LARGE", reason: "")
        #expect(error.isRefusal(of: record(key: 70_000)))
        #expect(error.isRefusal(of: record(header: 70_000)))
        #expect(error.isRefusal(of: record(key: 22_000, value: 22_000, header: 22_000)))
        #expect(!error.isRefusal(of: record(key: 20_000, value: 20_000, header: 20_000)))
    }
}
