import Foundation

extension KafkaDiagnosis.Cause {
    /// What is known of a client where a line alone does not say it.
    struct Client: Sendable {
        /// Nil: it is no member of a group.
        var groupID: String?
        /// `sasl.mechanisms`.
        var mechanism: String?
        var libraryVersion: String
        var supportsSCRAM: Bool
    }

    /// Reads the cause from a log line of librdkafka with facility `FAIL` or `ERROR`; nil when the line names no cause,
    /// or when the client recovers by itself. The texts are from librdkafka 2.0.2, `rdkafka_broker.c`,
    /// `rdkafka_request.c`, `rdkafka_ssl.c`, `rdkafka_sasl*.c`.
    init?(line: String, client: Client) {
        let shown = Self.printable(line)
        func has(_ part: String) -> Bool { line.contains(part) }
        func cause(_ subject: KafkaDiagnosis.Subject, _ obstacle: KafkaObstacle, _ advice: String) -> Self {
            Self(subject: subject, text: "\(advice) (\(shown))", obstacle: obstacle, line: shown)
        }
        if has("Unsupported SASL mechanism") {
            self = cause(
                .refusal, .mechanism,
                "the brokers do not offer the SASL mechanism: set sasl.mechanisms to one that they list")
        } else if has("SASL authentication error") || has("SASL authentication failure")
            || has("SASL SCRAM authentication failed") || has("SASL handshake failed")
        {
            if client.mechanism?.hasPrefix("SCRAM") == true, !client.supportsSCRAM {
                self = cause(
                    .refusal, .scram,
                    "SASL/SCRAM fails: librdkafka \(client.libraryVersion) cannot use it with Kafka 4 and some earlier versions, "
                        + "2.6.1 can; otherwise the user or the password is wrong")
            } else {
                self = cause(.refusal, .password, "SASL authentication fails: correct sasl.username or sasl.password")
            }
        } else if has("broker might require SASL authentication") {
            self = cause(
                .reach, .mechanism, "the brokers close the connection: they may require SASL; set security.protocol")
        } else if has("certificate verify failed") {
            self = cause(
                .refusal, .certificate,
                "the broker's certificate is not trusted or is for another name: correct ssl.ca.location")
        } else if has("connecting to a PLAINTEXT broker listener") || has("wrong version number") {
            self = cause(
                .refusal, has("wrong version number") ? .notKafka : .plainPort,
                "the broker's port does not speak TLS: use another port, or a security.protocol without SSL")
        } else if has("SSL handshake failed"), has("unexpected eof while reading") {
            self = cause(
                .refusal, .plainPort,
                "the broker ends the TLS handshake: its port may not speak TLS (use another port, or a security.protocol without SSL), "
                    + "or it requires a client certificate")
        } else if has("SSL handshake failed") {
            self = cause(
                .refusal, .clientCertificate, "the TLS handshake fails: the brokers may require a client certificate")
        } else if has("connecting to a SSL listener") || has("Invalid response size") {
            // A TLS alert read as a length: 0x1503 and the version's minor number.
            let isTLS = has("connecting to a SSL listener") || has("Invalid response size 35251")
            self = cause(
                .reach, isTLS ? .tlsPort : .notKafka,
                "the port speaks TLS or is not a Kafka port: correct security.protocol, or use another port")
        } else if has("Failed to resolve") {
            self = cause(.reach, .name, "a broker's name is not known to DNS")
        } else if has("Connection refused") || has("Connection setup timed out") || has("No route to host")
            || has("Network is unreachable")
        {
            self = cause(
                .reach, has("timed out") ? .silence : .port, "a broker cannot be reached: check host, port and firewall"
            )
        } else if has("Timed out ApiVersionRequest") || has("Timed out in-queue") || has("timed out requests") {
            self = cause(
                .reach, .silence,
                "a broker accepts the connection and does not answer: check for a firewall or a proxy in between")
        } else {
            return nil
        }
    }

    /// Reads the cause from an error's code.
    /// - Parameters:
    ///   - code: librdkafka's name, without `RD_KAFKA_RESP_ERR_`.
    ///   - topic: the topic of the error; nil: the text may name it.
    init?(code: String, topic: String?, text: String, client: Client) {
        switch code {
        case "GROUP_AUTHORIZATION_FAILED":
            // librdkafka looks for a coordinator also for a reader that assigns its partitions itself, and needs none.
            guard let groupID = client.groupID else { return nil }
            self.init(subject: .group, text: "no right to the consumer group \(groupID): grant READ on it")
        case "TOPIC_AUTHORIZATION_FAILED":
            let name = topic ?? Self.topic(in: text)
            self.init(
                subject: .topic(name ?? ""),
                text:
                    "no right to the topic \(name ?? "(\(Self.printable(text)))"): grant the rights that the role needs"
            )
        case "CLUSTER_AUTHORIZATION_FAILED":
            self.init(
                subject: .refusal, text: "no right to write idempotently: grant IDEMPOTENT_WRITE on the cluster")
        case "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID":
            let name = topic ?? Self.topic(in: text)
            self.init(
                subject: .topic(name ?? ""),
                text:
                    "the topic \(name ?? "(\(Self.printable(text)))") does not exist, or this client has no right to see it: create it"
            )
        case "INCONSISTENT_GROUP_PROTOCOL":
            self.init(
                subject: .group,
                text:
                    "the consumer group \(client.groupID ?? "?") has members with another assignment strategy: stop them"
            )
        case "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_SSL", "UNSUPPORTED_SASL_MECHANISM":
            self.init(line: text, client: client)
        default: return nil
        }
    }

    /// `Subscribed topic not available: NAME: Broker: …`.
    private static func topic(in text: String) -> String? {
        guard let start = text.range(of: "topic not available: ") else { return nil }
        return text[start.upperBound...].split(separator: ":").first.map { printable(String($0)) }
    }

    /// One line, bounded: a broker's words are a stranger's.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.prefix(300).map { $0.value < 32 || (127..<160).contains($0.value) ? " " : $0 }))
    }
}
