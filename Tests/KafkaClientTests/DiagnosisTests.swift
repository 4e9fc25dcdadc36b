import Foundation
import Logging
import Synchronization
import Testing

@testable import KafkaClient

@Suite("Why Kafka does not serve us", .timeLimit(.minutes(5)))
struct DiagnosisTests {
    private typealias Cause = KafkaDiagnosis.Cause

    private let client = KafkaDiagnosis.Cause.Client(
        groupID: "beckon.dispatcher", mechanism: "PLAIN", libraryVersion: "2.0.2", supportsSCRAM: false)

    /// Keeps what was logged as errors.
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
        var logger: Logger { Logger(label: "lines") { _ in Handler(lines: self) } }

        private struct Handler: LogHandler {
            let lines: Lines
            var metadata: Logger.Metadata = [:]
            var logLevel = Logger.Level.error
            subscript(metadataKey key: String) -> Logger.Metadata.Value? {
                get { metadata[key] }
                set { metadata[key] = newValue }
            }
            func log(event: LogEvent) { lines.all.withLock { $0.append("\(event.metadata?["cause"] ?? "")") } }
        }
    }

    @Test(
        "a log line of librdkafka's names the cause",
        arguments: [
            (
                "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: X",
                "sasl.mechanisms"
            ),
            (
                "SASL authentication error: Authentication failed: Invalid username or password (after 3ms)",
                "sasl.password"
            ),
            ("SSL handshake failed: error:0A000086:SSL routines::certificate verify failed", "ssl.ca.location"),
            (
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 1ms)",
                "does not speak TLS"
            ),
            ("SSL handshake failed: error:0A00010B:SSL routines::wrong version number", "does not speak TLS"),
            ("SSL handshake failed: error:0A0000F4:SSL routines::unexpected message", "client certificate"),
            // What a plain port of Apache Kafka 4.0 does.
            ("SSL handshake failed: error:0A000126:SSL routines::unexpected eof while reading", "may not speak TLS"),
            (
                "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10",
                "security.protocol"
            ),
            (
                "Receive failed: Invalid response size 1213486160 (0..100000000): increase receive.message.max.bytes",
                "not a Kafka port"
            ),
            ("Failed to resolve 'nohost:9092': Name or service not known (after 1ms in state CONNECT)", "DNS"),
            (
                "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
                "cannot be reached"
            ),
        ])
    func lines(line: String, advice: String) {
        let cause = Cause(line: "sasl_plaintext://h:9092/bootstrap: " + line, client: client)
        #expect(cause?.text.contains(advice) == true)
        #expect(cause?.text.contains(line) == true)
    }

    @Test("SCRAM with a librdkafka before 2.6.1 is told as that")
    func scram() {
        var client = client
        client.mechanism = "SCRAM-SHA-256"
        let line =
            "SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256"
        #expect(Cause(line: line, client: client)?.text.contains("librdkafka 2.0.2") == true)
        client.supportsSCRAM = true
        #expect(Cause(line: line, client: client)?.text.contains("sasl.password") == true)
    }

    @Test("an error's code names the group or the topic; what goes by itself is no cause")
    func codes() {
        func text(_ code: String, _ topic: String?, _ reason: String = "") -> String? {
            Cause(code: code, topic: topic, text: reason, client: client)?.text
        }
        #expect(text("GROUP_AUTHORIZATION_FAILED", nil)?.contains("beckon.dispatcher") == true)
        #expect(text("TOPIC_AUTHORIZATION_FAILED", "beckon.events")?.contains("beckon.events") == true)
        #expect(text("UNKNOWN_TOPIC_OR_PART", "beckon.events")?.contains("does not exist") == true)
        #expect(
            text(
                "TOPIC_AUTHORIZATION_FAILED", nil,
                "Subscribed topic not available: beckon.outcomes: Broker: Topic authorization failed"
            )?.hasPrefix("no right to the topic beckon.outcomes") == true)
        for code in [
            "_TRANSPORT", "_ALL_BROKERS_DOWN", "NOT_LEADER_FOR_PARTITION", "REBALANCE_IN_PROGRESS", "_TIMED_OUT",
        ] {
            #expect(text(code, nil) == nil)
        }
    }

    @Test("a broker's words are one line without control characters")
    func printable() {
        let cause = Cause(line: "SASL authentication error: a\nb\u{1b}[31m\u{85}c", client: client)
        #expect(cause?.text.contains("a b [31m c") == true)
    }

    @Test("a cause is logged once, though several clients meet it, and is gone when each of them is well")
    func once() {
        let lines = Lines()
        let diagnosis = KafkaDiagnosis()
        let clients = [diagnosis.enter(), diagnosis.enter()]
        let cause = Cause(subject: .refusal, text: "wrong password")
        for _ in 0..<5 { for client in clients { diagnosis.note(cause, client: client, logger: lines.logger) } }
        #expect(lines.all.withLock { $0 } == ["wrong password"])
        #expect(diagnosis.cause == "wrong password")
        diagnosis.isWell(.topic("t"), client: clients[0])
        #expect(diagnosis.cause == "wrong password")
        diagnosis.leave(clients[1])
        #expect(diagnosis.cause == nil)
    }

    @Test("two causes that a client meets in turn are logged once each, however often they take turns")
    func inTurn() {
        let lines = Lines()
        let diagnosis = KafkaDiagnosis()
        let client = diagnosis.enter()
        for _ in 0..<20 {
            for text in ["refused", "timed out"] {
                diagnosis.note(.init(subject: .refusal, text: text), client: client, logger: lines.logger)
            }
        }
        #expect(lines.all.withLock { $0 } == ["refused", "timed out"])
    }

    @Test("a broker out of reach counts for no client once one of the process was answered")
    func reachOfOthers() {
        let diagnosis = KafkaDiagnosis()
        let (used, unused) = (diagnosis.enter(), diagnosis.enter())
        let cause = Cause(subject: .reach, text: "refused")
        diagnosis.note(cause, client: unused, logger: Lines().logger)
        #expect(diagnosis.cause == "refused")
        diagnosis.isAnswered(used)
        #expect(diagnosis.cause == nil, "one of several brokers")
        diagnosis.leave(used)
        #expect(diagnosis.cause == "refused", "nobody was answered")
    }

    @Test("a broker out of reach counts only for a client that no broker has answered yet")
    func reach() {
        let lines = Lines()
        let diagnosis = KafkaDiagnosis()
        let client = diagnosis.enter()
        let cause = Cause(subject: .reach, text: "refused")
        diagnosis.note(cause, client: client, logger: lines.logger)
        #expect(diagnosis.cause == "refused")
        diagnosis.isAnswered(client)
        #expect(diagnosis.cause == nil)
        diagnosis.note(cause, client: client, logger: lines.logger)
        #expect(diagnosis.cause == nil)
        #expect(lines.all.withLock { $0.count } == 1)
    }

    @Test("a topic's cause ends when that topic is used, not another; the list is bounded")
    func topics() {
        let diagnosis = KafkaDiagnosis()
        let client = diagnosis.enter()
        let logger = Lines().logger
        for number in 0..<200 {
            diagnosis.note(Cause(subject: .topic("t\(number)"), text: "\(number)"), client: client, logger: logger)
        }
        diagnosis.isWell(.topic("t1"), client: client)
        #expect(diagnosis.cause?.isEmpty == false)
        for number in 0..<64 { diagnosis.isWell(.topic("t\(number)"), client: client) }
        #expect(diagnosis.cause == nil)
    }

    // MARK: - With a broker

    @Test("a group that we have no right to is named until there is an assignment")
    func group() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try EmbeddedBroker(topics: [topic: 1])
        let kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        // FindCoordinator, GROUP_AUTHORIZATION_FAILED
        try broker.inject(.requestErrors(apiKey: 10, codes: Array(repeating: 30, count: 6)))
        let consumer = try KafkaConsumer(
            configuration: kafka, groupID: "my-group", topics: [topic], logger: Lines().logger)
        while kafka.diagnosis.cause == nil { try await Task.sleep(for: .milliseconds(10)) }
        #expect(kafka.diagnosis.cause?.contains("my-group") == true)
        for await event in consumer.events {
            guard case .assigned(let assignment) = event else { continue }
            _ = try await assignment.accept(from: [:])
            break
        }
        #expect(kafka.diagnosis.cause == nil)
        await consumer.close(deadline: .seconds(10))
    }

    @Test("a reader in no group needs no right to one")
    func follower() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try EmbeddedBroker(topics: [topic: 1])
        let kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        try broker.inject(.requestErrors(apiKey: 10, codes: Array(repeating: 30, count: 6)))
        let lines = Lines()
        let consumer = try KafkaConsumer(configuration: kafka, following: [topic], logger: lines.logger)
        var faults = 0
        for await event in consumer.events {
            switch event {
            case .assigned(let assignment): _ = try await assignment.accept(from: [:])
            case .fault(let error) where error.code == "GROUP_AUTHORIZATION_FAILED": faults += 1
            default: break
            }
            if faults > 0 { break }
        }
        #expect(kafka.diagnosis.cause == nil && lines.all.withLock { $0.isEmpty })
        await consumer.close(deadline: .seconds(10))
        await broker.close()
    }

    @Test("a broker that cannot be reached, and a topic without a right, are named by whoever asks")
    func producer() async throws {
        let lines = Lines()
        var kafka = KafkaConfiguration(bootstrapServers: "127.0.0.1:1", isEmbedded: true)
        let cutOff = try KafkaProducer(configuration: kafka, logger: lines.logger)
        while kafka.diagnosis.cause == nil { try await Task.sleep(for: .milliseconds(10)) }
        #expect(kafka.diagnosis.cause?.contains("cannot be reached") == true)
        // On a busy machine librdkafka may name a second cause by now; it names none twice.
        let named = lines.all.withLock { $0 }
        #expect(!named.isEmpty && Set(named).count == named.count, "\(named)")
        await cutOff.close(deadline: .zero)

        let topic = "t-\(UUID().uuidString)"
        let broker = try EmbeddedBroker(topics: [topic: 1])
        kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        let producer = try KafkaProducer(configuration: kafka, logger: lines.logger)
        let record = ProducerRecord(topic: topic, key: [1], value: [1])
        _ = try await producer.send(record)
        // Produce, TOPIC_AUTHORIZATION_FAILED
        try broker.inject(.requestErrors(apiKey: 0, codes: [29]))
        await #expect(throws: KafkaError.self) { try await producer.send(record) }
        #expect(kafka.diagnosis.cause?.contains("no right to the topic \(topic)") == true)
        while (try? await producer.send(record)) == nil { try await Task.sleep(for: .milliseconds(10)) }
        #expect(kafka.diagnosis.cause == nil)
        await producer.close(deadline: .seconds(2))
        await broker.close()
    }
}
