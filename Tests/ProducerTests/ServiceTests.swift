import AsyncHTTPClient
import ChallengeModel
import Challenges
import Foundation
import HTTPEdge
import KafkaClient
import Logging
import NIOSSL
import ServiceSupport
import TestSupport
import Testing

@testable import Producer

@Suite("The service as a whole", .timeLimit(.minutes(5)))
struct ServiceTests {
    @Test("what is created over HTTP reaches Kafka signed, and readiness passes")
    func relay() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: service)
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            let created = try await producer.post(
                "\(service)/Entities/user-0001/Challenges", [("Details.Message", "Log in?")], as: producer.backend,
                headers: [("traceparent", trace)])
            let sid = try created.text("sid")
            try await becomesTrue("readiness") { producer.readiness.isReady }
            let topic = producer.names[.challenges]
            try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                try await becomesTrue("the dispatch") { tail.count(of: topic) >= 1 }
                let record = try #require(tail.records(of: topic).first)
                let signer = RecordSigner(
                    names: producer.names, authenticator: RecordAuthenticator(keys: producer.keys))
                #expect(signer.isAuthentic(record))
                #expect(record.key == Array(sid.utf8))
                #expect(record.headers.text(of: RecordHeaderName.traceparent) == trace)
            }
        }
    }

    @Test("topics with different numbers of partitions: HTTP serves, readiness says what is wrong")
    func partitions() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            #expect(try await producer.get("/v2/Services", as: producer.backend).status == 200)
            try await becomesTrue("the reason") {
                producer.readiness.reasons["kafka"]?.contains("\(producer.names[.receipts]): 5") == true
            }
        }
    }

    @Test("without Kafka: creations are taken, the reason shows, and all is sent when it is there", .standIn())
    func kafkaDown() async throws {
        try await ProducerHarness.run(ownBroker: [:], adjust: { $0.kafkaRetry = .milliseconds(100) }) { producer in
            try producer.broker.inject(.brokerDown(1))
            let service = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: service)
            #expect(try await producer.createChallenge(service, "user-0001").status == 201)
            try producer.broker.inject(.brokerUp(1))
            try await becomesTrue("readiness") { producer.readiness.isReady }
            let topic = producer.names[.challenges]
            try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                try await becomesTrue("the dispatch") { tail.count(of: topic) >= 1 }
            }
        }
    }

    @Test("an outbox over its limit refuses creations with 503 and Retry-After, and nothing else")
    func outbox() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5], adjust: { $0.outboxLimit = 0 }) { producer in
            // Different partition counts keep the relay from starting, so that rows stay.
            let service = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: service)
            try await becomesTrue("the outbox is counted") { producer.readiness.reasons["outbox-limit"] != nil }
            let refused = try await producer.createChallenge(service, "user-0001")
            #expect(refused.status == 503)
            #expect(try refused.code() == 20503)
            #expect(refused.header("Retry-After") == "5")
            #expect(producer.metrics.count(.shed, []) == 1)
            #expect(try await producer.get(service, as: producer.backend).status == 200)
        }
    }

    @Test("TLS by PEM files: URLs are https")
    func tls() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (certificate, key) = (folder.appending(path: "cert.pem").path, folder.appending(path: "key.pem").path)
        let openssl = Process()
        openssl.executableURL = URL(filePath: "/usr/bin/openssl")
        openssl.arguments =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
            + [
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out",
                certificate,
            ]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(certificate)
        let client = HTTPClient(configuration: .init(tlsConfiguration: tls))
        let files = TLSFiles(certificateChain: certificate, privateKey: key)
        do {
            try await ProducerHarness.run(adjust: { $0.tls = files }) { producer in
                let answer = try await producer.send(
                    "POST", "/v2/Services", body: "FriendlyName=Bank", as: producer.backend, client: client)
                #expect(answer.status == 201)
                #expect(try answer.text("url").hasPrefix("https://localhost:"))
            }
        } catch {
            try await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    @Test("a port that is taken ends the run with an error, and nobody waits for a port for ever")
    func taken() async throws {
        try await ProducerHarness.run { producer in
            let port = try #require(URL(string: producer.base)?.port)
            var configuration = ProducerConfiguration(
                kafka: producer.kafka, topics: producer.names, recordKeys: producer.keys)
            configuration.port = port
            let second = ProducerService(
                configuration: configuration, store: producer.store, readiness: .init(),
                logger: ProducerHarness.logger, metrics: producer.metrics)
            async let bound = second.boundPort
            await #expect(throws: (any Error).self) { try await second.run() }
            #expect(await bound == nil)
        }
    }
}
