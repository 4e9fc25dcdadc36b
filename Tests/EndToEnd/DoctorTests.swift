import ChallengeModel
import Foundation
import TestSupport
import Testing
import Wire

/// `beckon doctor` as an operator runs it: a process of its own, with the environment of the roles.
@Suite("The doctor's command", .timeLimit(.minutes(10)))
struct DoctorTests {
    private struct Visit {
        let status: Int32
        let output: String

        func checks() throws -> [String: JSONValue] {
            let line = output.split(separator: "\n").first { $0.hasPrefix("{") } ?? ""
            let all = try JSONParser.parse(Array(line.utf8), .reply)["checks"]?.elements ?? []
            return Dictionary(uniqueKeysWithValues: all.map { ($0["id"]?.stringValue ?? "", $0) })
        }
    }

    private func visit(_ arguments: [String], _ environment: [String: String]) async throws -> Visit {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-doctor-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let process = try BeckonProcess(
            "doctor", ["doctor"] + arguments, environment: environment, isRole: false, folder: folder)
        let status = try await process.end(within: .seconds(120))
        return Visit(status: status, output: process.output)
    }

    private static let key = "k1:" + Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString()

    @Test(
        "on a healthy system there is a tick for every check that can look, nothing else, and status 0",
        .enabled(if: isRedundant, "fewer than three brokers are not healthy: name three in BECKON_TEST_KAFKA"))
    func healthy() async throws {
        try await BeckonCluster.with { try await healthy($0) }
    }

    private static let isRedundant = TestBroker.cluster.map { $0.split(separator: ",").count >= 3 } ?? true

    private func healthy(_ cluster: BeckonCluster) async throws {
        for role in ["producer", "dispatcher", "ack-tracker", "webhooks"] { try cluster.start(role, role) }
        for role in ["producer", "dispatcher", "ack-tracker", "webhooks"] { _ = try await cluster[role]?.ready() }
        // Phones bring a service with credentials of all simulators.
        _ = try await cluster.startPhones(3, behaviour: "answers")
        let text = try await cluster.run(["doctor", "--timeout", "20000"])
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.allSatisfy { !$0.hasPrefix("✗") && !$0.hasPrefix("!") }, "\(text)")
        let ticks = Set(lines.filter { $0.hasPrefix("✓") }.map { $0.split(separator: " ")[1] })
        for check in [
            "configuration", "kafka-name", "kafka-sasl-password", "kafka-advertised", "topics", "partitions", "rights",
            "clock", "keys", "store", "apns", "fcm", "hms", "egress", "limits",
        ] {
            #expect(ticks.contains(Substring(check)), "\(check) in\n\(text)")
        }
        #expect(!text.contains("\u{1B}"), "colour where no terminal is")
        // Twice: the first look has left nothing behind.
        let json = try await cluster.run(["doctor", "--json", "--strict", "--timeout", "20000"])
        #expect(json.hasPrefix("{\"status\":0,"))
        for secret in [cluster.account.authToken, cluster.recordKeys.text] {
            #expect(!text.contains(secret) && !json.contains(secret))
        }

        // A dispatcher has no store: its credentials are those of topic configuration.
        let alone = try await cluster.run(["doctor", "--role", "dispatcher", "--timeout", "20000"])
        for check in ["keys", "apns", "fcm", "hms", "egress"] {
            #expect(alone.contains("✓ \(check)"), "\(check) in\n\(alone)")
        }
        #expect(!alone.contains("store  ") && !alone.contains("webhooks  "), "\(alone)")

        // A dispatcher with other keys than the producers.
        let other = await #expect(throws: BeckonProcess.Failure.self) {
            _ = try await cluster.run(
                ["doctor", "--role", "dispatcher", "--only", "keys", "--json", "--timeout", "20000"],
                more: ["BECKON_CONFIGURATION_KEYS": Self.key])
        }
        let said = other?.description ?? ""
        #expect(said.contains("ended with 1") && said.contains("\"mistake\":\"record-key\""), "\(said)")
    }

    @Test("a misspelt variable: the nearest setting is named, and the status is 1")
    func misspelt() async throws {
        let visit = try await visit(
            ["--role", "dispatcher", "--only", "configuration", "--json"],
            [
                "BECKON_KAFKA_BOOTSTRAP_SERVER": "127.0.0.1:1", "BECKON_RECORD_KEYS": Self.key,
                "BECKON_CONFIGURATION_KEYS": Self.key,
            ])
        #expect(visit.status == 1)
        #expect(visit.output.contains("did you mean BECKON_KAFKA_BOOTSTRAP_SERVERS"), "\(visit.output)")
    }

    @Test("a value out of range, a missing setting and a key of the wrong form are found, and no secret is shown")
    func values() async throws {
        let visit = try await visit(
            ["--role", "producer", "--only", "configuration"],
            [
                "BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "BECKON_RECORD_KEYS": "k1:c2VjcmV0",
                "BECKON_API_PORT": "99999", "BECKON_STORE_KEYS": Self.key, "BECKON_CONFIGURATION_KEYS": Self.key,
            ])
        #expect(visit.status == 1)
        for part in ["BECKON_RECORD_KEYS", "store.url is missing", "✗", "do ", "docs/doctor.md#configuration"] {
            #expect(visit.output.contains(part), "\(part) in\n\(visit.output)")
        }
        #expect(!visit.output.contains("c2VjcmV0"))
    }

    @Test("too few open files for the listeners")
    func openFiles() async throws {
        let folder = FileManager.default.temporaryDirectory
        let process = try BeckonProcess(
            "doctor-\(UUID().uuidString)", ["doctor", "--role", "producer", "--only", "limits"],
            environment: [
                "BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "BECKON_RECORD_KEYS": Self.key,
                "BECKON_STORE_KEYS": Self.key, "BECKON_CONFIGURATION_KEYS": Self.key,
                "BECKON_STORE_PATH": "/nowhere/s.sqlite",
            ], openFiles: 512, isRole: false, folder: folder)
        #expect(try await process.end(within: .seconds(60)) == 1)
        #expect(
            process.output.contains("512 open files") && process.output.contains("LimitNOFILE"), "\(process.output)")
    }

    @Test(
        "wrong use ends with status 2 and one line that says what is right",
        arguments: [
            ["--role", "broker"], ["--only", "kafka"], ["--timeout", "1"], ["--timeout", "soon"],
            ["--kafka-bootstrap-serverz", "h:1"], ["--role", "ack-tracker", "--api-port", "1"], ["dispatcher"],
        ])
    func wrongUse(arguments: [String]) async throws {
        let visit = try await visit(arguments, [:])
        #expect(visit.status == 2, "\(visit.output)")
        #expect(visit.output.hasPrefix("Error: ") && visit.output.split(separator: "\n").count == 1, "\(visit.output)")
    }

    @Test("a broker that is away ends with status 3, and the checks behind it are skipped")
    func away() async throws {
        let visit = try await visit(
            ["--role", "ack-tracker", "--json", "--kafka-bootstrap-servers=127.0.0.1:1"],
            ["BECKON_RECORD_KEYS": Self.key])
        #expect(visit.status == 3, "\(visit.output)")
        let checks = try visit.checks()
        #expect(checks["kafka-port"]?["result"]?.stringValue == "found")
        #expect(checks["topics"]?["because"]?.stringValue == "no connection to Kafka")
    }
}
