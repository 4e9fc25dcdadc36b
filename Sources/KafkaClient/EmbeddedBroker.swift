/// librdkafka's stand-in broker on loopback: real protocol on real sockets, in memory. For development and tests; what it is
/// not (bounds of 5 MB or 100,000 records per partition, no look-up by time, no compaction, ACLs or TLS) is in
/// docs/operations.md.
public final class EmbeddedBroker: Sendable {
    /// Starts it.
    /// - Parameters:
    ///   - brokers: 1 or more.
    ///   - topics: created with their number of partitions.
    public init(brokers: Int = 1, topics: [String: Int]) throws(KafkaError) { preconditionFailure("skeleton") }

    /// `127.0.0.1:port,…`.
    public var bootstrapServers: String { preconditionFailure("skeleton") }

    /// A fault switch.
    public enum Fault: Sendable, Hashable {
        case brokerDown(Int32)
        case brokerUp(Int32)
        /// Round-trip time added to each answer of a broker, in milliseconds; 0 takes it away.
        case delay(broker: Int32, milliseconds: Int32)
        /// The next requests of this API key answer with these error codes (Kafka protocol numbers).
        case requestErrors(apiKey: Int16, codes: [Int16])
    }

    public func inject(_ fault: Fault) throws(KafkaError) { preconditionFailure("skeleton") }

    public func close() async {}
}
