extension KafkaConfiguration {
    private var common: [(String, String)] {
        [
            ("bootstrap.servers", bootstrapServers), ("client.id", "beckon"), ("allow.auto.create.topics", "false"),
            ("socket.keepalive.enable", "true"), ("socket.timeout.ms", "10000"),
            ("reconnect.backoff.ms", "50"), ("reconnect.backoff.max.ms", "2000"),
            ("topic.metadata.refresh.fast.interval.ms", "100"),
            // Only what is wrong; it goes to our logger.
            ("log_level", "3"),
        ]
    }

    private var overrides: [(String, String)] { properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }

    var producerProperties: [(String, String)] {
        common + [
            ("enable.idempotence", "true"), ("acks", "all"), ("partitioner", "murmur2_random"),
            ("linger.ms", isEmbedded ? "0" : "2"), ("message.timeout.ms", "30000"),
            ("queue.buffering.max.messages", "200000"), ("queue.buffering.max.kbytes", "131072"),
            // A dead letter holds up to 512 KB and 64 KB of headers.
            ("message.max.bytes", "1000000"),
            // A fetch brings whole batches, however little was asked for, and a reader holds them until the last record of the
            // response is read: batches of a megabyte cost a dispatcher 20 MB. (Java clients: 16 KB.) A larger record goes
            // alone, which KafkaError.isRefusal relies on.
            ("batch.size", "65536"),
        ] + overrides
    }

    func consumerProperties(groupID: String) -> [(String, String)] {
        common + [
            ("group.id", groupID), ("enable.auto.commit", "false"), ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"), ("enable.partition.eof", "true"),
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", String(sessionTimeout.milliseconds)),
            ("heartbeat.interval.ms", isEmbedded ? "500" : "1000"),
            ("fetch.wait.max.ms", isEmbedded ? "10" : "100"), ("fetch.error.backoff.ms", "50"),
            // Prefetch per partition: at 12 partitions of four topics this bounds the process at about 50 MB.
            ("queued.max.messages.kbytes", "1024"), ("queued.min.messages", "2000"),
            ("fetch.message.max.bytes", "1048576"),
        ] + overrides
    }
}
