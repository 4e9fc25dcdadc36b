import CRdKafka

/// The librdkafka that this process runs with.
public enum KafkaLibrary {
    /// For example `2.0.2`.
    public static let version = String(cString: rd_kafka_version_str())
}
