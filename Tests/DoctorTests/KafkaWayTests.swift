import Doctor
import Foundation
import KafkaClient
import Simulators
import TestSupport
import Testing

@Suite("Mistakes on the way to Kafka", .timeLimit(.minutes(5)))
struct KafkaWayTests {
    private static let only: Set<String> = [
        "kafka-name", "kafka-port", "kafka-silence", "kafka-tls-port", "kafka-plain-port", "kafka-protocol",
        "kafka-certificate", "kafka-sasl-mechanism", "kafka-sasl-password", "kafka-advertised", "configuration",
    ]

    private func examine(
        _ servers: String, _ properties: [String: String] = [:], patience: Duration = .seconds(60)
    ) async -> [String: CheckResult] {
        await Ward.examine([Ward.kafka(servers, properties)], only: Self.only, patience: patience)
    }

    @Test("a name that DNS does not know")
    func name() async {
        let results = await examine("no-such-host.invalid:9092")
        results.expect(
            "kafka-name", "unknown-name", saw: "Failed to resolve", mend: "getent hosts no-such-host.invalid")
        #expect(results.ill == ["kafka-name"])
        #expect(results.reasonForSkipping("kafka-port") == "the servers are not reached for another reason")
    }

    @Test("a port that nobody listens on")
    func port() async throws {
        let server = try await DumbServer()
        await server.stop()
        let results = await examine(server.address)
        results.expect("kafka-port", "refused", saw: "Connection refused", mend: server.address)
        #expect(results.ill == ["kafka-port"])
        #expect(Report(Array(results.values)).status(isStrict: false) == 3)
    }

    @Test("a connection that is taken and never answered")
    func silence() async throws {
        let server = try await DumbServer()
        let results = await examine(server.address, patience: .seconds(3))
        results.expect("kafka-silence", "no-answer", mend: "firewall")
        #expect(results.ill == ["kafka-silence"])
        await server.stop()
    }

    @Test("a client without TLS at a port with TLS")
    func tlsPort() async throws {
        let server = SimulatedReceiver(certificates: try SimulatedCertificates()) { _ in .close }
        let results = await examine("127.0.0.1:\(try await server.start())")
        results.expect("kafka-tls-port", "tls-needed", mend: "security.protocol=SSL")
        #expect(results.ill == ["kafka-tls-port"])
        await server.stop()
    }

    @Test("a client with TLS at a port without TLS")
    func plainPort() async throws {
        let broker = try EmbeddedBroker(topics: ["t": 1])
        let results = await examine(broker.bootstrapServers, ["security.protocol": "SSL"])
        results.expect("kafka-plain-port", "tls-not-spoken", mend: "security.protocol=PLAINTEXT")
        #expect(results.ill == ["kafka-plain-port"])
        await broker.close()
    }

    @Test("a web server in place of Kafka, with TLS and without", arguments: [false, true])
    func notKafka(isTLS: Bool) async throws {
        let server = try await DumbServer(saying: Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
        let results = await examine(server.address, isTLS ? ["security.protocol": "SSL"] : [:])
        results.expect("kafka-protocol", "not-kafka", mend: "host and port")
        #expect(results.ill == ["kafka-protocol"])
        await server.stop()
    }

    @Test("a certificate of an unknown authority, for another name, and one that has expired are told apart")
    func certificates() async throws {
        try await Ward.withFolder { folder in
            func look(_ certificates: SimulatedCertificates, trusting: SimulatedCertificates) async throws -> [String:
                CheckResult]
            {
                let file = folder.appending(path: "\(UUID().uuidString).pem").path
                try trusting.writePEM(to: file)
                let server = SimulatedReceiver(certificates: certificates) { _ in .close }
                let port = try await server.start()
                let results = await examine(
                    "localhost:\(port)", ["security.protocol": "SSL", "ssl.ca.location": file])
                await server.stop()
                return results
            }
            let good = try SimulatedCertificates()
            let unknown = try await look(good, trusting: try SimulatedCertificates())
            unknown.expect("kafka-certificate", "broker-certificate", saw: "unknown authority", mend: "ssl.ca.location")
            let other = try SimulatedCertificates(hosts: ["broker.example"])
            let name = try await look(other, trusting: other)
            name.expect("kafka-certificate", "broker-certificate", saw: "another name", mend: "Another name")
            let old = try SimulatedCertificates(hosts: ["localhost"], isExpired: true)
            let expired = try await look(old, trusting: old)
            expired.expect("kafka-certificate", "broker-certificate", saw: "expired", mend: "Expired")
        }
    }

    @Test("a SASL mechanism that the brokers do not offer")
    func mechanism() async throws {
        let broker = try await ScriptedBroker(.init(mechanisms: ["SCRAM-SHA-256", "GSSAPI"]))
        let results = await examine(
            broker.address,
            [
                "security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN", "sasl.username": "u",
                "sasl.password": "geheim",
            ])
        results.expect("kafka-sasl-mechanism", "mechanism", saw: "SCRAM-SHA-256", mend: "sasl.mechanisms")
        #expect(results.ill == ["kafka-sasl-mechanism"])
        await broker.stop()
    }

    @Test("a wrong password; it is in no line of the report")
    func password() async throws {
        let broker = try await ScriptedBroker(
            .init(refusal: "Authentication failed: Invalid username or password"))
        let results = await examine(
            broker.address,
            [
                "security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN", "sasl.username": "u",
                "sasl.password": "geheim",
            ])
        results.expect("kafka-sasl-password", "password", saw: "Invalid username or password", mend: "sasl.password")
        #expect(results.ill == ["kafka-sasl-password"])
        let report = Report(Array(results.values))
        #expect(!report.text(isColoured: false).contains("geheim") && !report.json(isStrict: false).contains("geheim"))
        #expect(report.status(isStrict: false) == 1)
        await broker.stop()
    }

    @Test("a broker that sends its clients to a name that is not known here")
    func advertised() async throws {
        let broker = try await ScriptedBroker(.init(advertised: ("no-such-broker.invalid", 9092)))
        let results = await examine(broker.address)
        results.expect(
            "kafka-advertised", "advertised-listener", saw: "no-such-broker.invalid:9092", mend: "advertised.listeners")
        #expect(results.ill == ["kafka-advertised"])
        #expect(results.isPassed("kafka-name"))
        await broker.stop()
    }

    @Test("a property that librdkafka does not know")
    func property() async {
        let results = await examine("127.0.0.1:1", ["sasl.pasword": "x"])
        results.expect("configuration", "kafka-property", saw: "sasl.pasword", mend: "BECKON_KAFKA_PROPERTIES")
    }

    @Test("a way without obstacles passes every check")
    func well() async throws {
        let broker = try EmbeddedBroker(topics: ["t": 1])
        let results = await examine(broker.bootstrapServers)
        #expect(results.ill.isEmpty)
        #expect(results.values.allSatisfy { if case .passed = $0.verdict { true } else { false } })
        await broker.close()
    }
}
