/// What keeps a client from a broker, as librdkafka's log lines tell it. Its return codes say the same for all of them.
public enum KafkaObstacle: String, Sendable, Hashable, CaseIterable {
    /// The host's name is not known to DNS.
    case name
    /// TCP is refused.
    case port
    /// The connection is taken, or swallowed, and nothing is answered.
    case silence
    /// A client without TLS at a port that speaks TLS.
    case tlsPort
    /// A client with TLS at a port that speaks Kafka without it.
    case plainPort
    /// What listens there is not Kafka.
    case notKafka
    /// The broker's certificate does not verify: its authority, its name or its time.
    case certificate
    /// The broker ends the handshake: it wants a client certificate, or another one.
    case clientCertificate
    /// The brokers do not offer the SASL mechanism, or want SASL and get none.
    case mechanism
    /// SCRAM with a librdkafka that cannot use it.
    case scram
    case password
}
