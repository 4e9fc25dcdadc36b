import CRdKafka

extension KafkaConfiguration {
    private var common: [(String, String)] {
        [
            ("bootstrap.servers", bootstrapServers), ("client.id", "beckon"), ("allow.auto.create.topics", "false"),
            ("socket.keepalive.enable", "true"), ("socket.timeout.ms", "10000"),
            ("reconnect.backoff.ms", "50"), ("reconnect.backoff.max.ms", "2000"),
            ("topic.metadata.refresh.fast.interval.ms", "100"),
            // This level includes the causes of faults, for example that a port uses another protocol. The lines go to
            // Beckon's logger.
            ("log_level", "6"),
        ]
    }

    /// The properties of a client that neither writes nor reads records.
    var plainProperties: [(String, String)] { common + overrides }

    private var overrides: [(String, String)] { properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }

    /// The value of a consumer property as librdkafka reads it; nil: no such property.
    func effective(_ property: String) -> String? {
        guard let conf = rd_kafka_conf_new() else { return nil }
        defer { rd_kafka_conf_destroy(conf) }
        // A property that librdkafka refuses here is refused again at the start of the client.
        for (name, value) in consumerProperties(groupID: "") where name == property {
            rd_kafka_conf_set(conf, name, value, nil, 0)
        }
        return conf.value(of: property)
    }

    /// The initial `batch.size` in bytes.
    var batchBytes: Int { properties["batch.size"].flatMap { Int($0) } ?? 65_536 }

    /// The properties for smaller batches than those of ``producerProperties``.
    func producerProperties(batchBytes: Int) -> [(String, String)] {
        batchBytes == self.batchBytes
            ? producerProperties : producerProperties + [("batch.size", String(batchBytes))]
    }

    /// The properties for records that are each sent in a request of their own.
    var singleRecordProperties: [(String, String)] {
        producerProperties + [("batch.num.messages", "1"), ("linger.ms", "0")]
    }

    var producerProperties: [(String, String)] {
        common + [
            ("enable.idempotence", "true"), ("acks", "all"), ("partitioner", "murmur2_random"),
            ("linger.ms", isEmbedded ? "0" : "2"), ("message.timeout.ms", "30000"),
            ("queue.buffering.max.messages", "200000"), ("queue.buffering.max.kbytes", "131072"),
            // A dead letter holds up to 512 KB and 64 KB of headers.
            ("message.max.bytes", "1000000"),
            // A fetch brings whole batches, however little was asked for, and a reader holds them until the last record
            // of the response is read: batches of a megabyte cost a dispatcher 20 MB. (Java clients: 16 KB.) A larger
            // record goes alone. KafkaProducer makes them smaller when a broker refuses one.
            ("batch.size", "65536"),
        ] + overrides
    }

    /// The properties of a consumer that is a member of a group.
    func memberProperties(groupID: String) -> [(String, String)] {
        consumerProperties(groupID: groupID) + (ownClientID.map { [("client.id", $0)] } ?? [])
    }

    func consumerProperties(groupID: String) -> [(String, String)] {
        common + [
            ("group.id", groupID), ("enable.auto.commit", "false"), ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"), ("enable.partition.eof", "true"),
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", isEmbedded ? "3000" : "15000"),
            ("heartbeat.interval.ms", isEmbedded ? "500" : "1000"),
            ("fetch.wait.max.ms", isEmbedded ? "\(embeddedFetchWaitMs)" : "100"), ("fetch.error.backoff.ms", "50"),
            // Prefetch per partition: at 12 partitions of four topics this bounds the process at about 50 MB.
            ("queued.max.messages.kbytes", "1024"), ("queued.min.messages", "2000"),
            ("fetch.message.max.bytes", "1048576"),
        ] + overrides
    }
}
