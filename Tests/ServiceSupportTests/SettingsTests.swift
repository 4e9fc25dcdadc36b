import ChallengeModel
import Foundation
import KafkaClient
import Logging
import Testing

@testable import ServiceSupport

@Suite("Settings: flags, then environment, then file")
struct SettingsTests {
    @Test("the first source that has a key wins")
    func order() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).yaml")
        try "log:\n  level: debug\napi:\n  port: 1111\n  host: 10.0.0.1\n".write(
            to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        let settings = try await Settings(
            role: .producer, arguments: ["--api-port", "3333", "--config=\(file.path)"],
            environment: ["BECKON_API_PORT": "2222", "BECKON_API_HOST": "10.0.0.2"])
        #expect(try settings(Settings.apiPort) == 3333)
        #expect(try settings(Settings.apiHost) == "10.0.0.2")
        #expect(try settings(Settings.logLevel) == .debug)
        #expect(try settings(Settings.outboxLimit) == 100_000)
        #expect(try settings.optional(Settings.apiPublicURL) == nil)
    }

    @Test("a worker's place is its host and its admin port, where these tell it from others")
    func place() async throws {
        #expect(Settings.place(host: "beckon-dispatcher-5f7-x2", adminPort: 9464) == "beckon-dispatcher-5f7-x2-9464")
        #expect(Settings.place(host: "büro 1", adminPort: 1) == "b-ro-1-1")
        for (host, port) in [("worker", 0), ("", 9464), ("localhost", 9464), ("localhost.localdomain", 9464)] {
            #expect(Settings.place(host: host, adminPort: port) == nil)
        }
        let settings = try await Settings(
            role: .dispatcher, arguments: ["--kafka-bootstrap-servers", "a:1", "--admin-port", "9999"], environment: [:]
        )
        #expect(
            try settings.kafka().place == Settings.place(host: ProcessInfo.processInfo.hostName, adminPort: 9999))
    }

    @Test("a list with commas comes through whole from every source")
    func commas() async throws {
        let ring = KeyRing(keys: KeyRing.random(id: "a").keys + KeyRing.random(id: "b").keys)
        let settings = try await Settings(
            role: .dispatcher, arguments: ["--kafka-bootstrap-servers", "a:1,b:2"],
            environment: [
                "BECKON_RECORD_KEYS": ring.text, "BECKON_KAFKA_PROPERTIES": "security.protocol=ssl,ssl.ca.location=/x",
            ])
        #expect(try settings(Settings.kafkaServers) == "a:1,b:2")
        #expect(try settings(Settings.recordKeys).text == ring.text)
        let kafka = try settings.kafka()
        #expect(kafka.properties == ["security.protocol": "ssl", "ssl.ca.location": "/x"])
    }

    @Test(
        "what is wrong is named with its source and the expected form",
        arguments: [
            (["--api-port", "70000"], [:], "--api-port: \"70000\" is not right; expected port, 0–65535"),
            (
                [], ["BECKON_API_PORT": "http"],
                "environment variable BECKON_API_PORT: \"http\" is not right; expected port, 0–65535"
            ),
        ] as [([String], [String: String], String)])
    func wrong(arguments: [String], environment: [String: String], expected: String) async throws {
        let settings = try await Settings(role: .producer, arguments: arguments, environment: environment)
        let error = #expect(throws: SettingsError.self) { try settings(Settings.apiPort) }
        #expect(error?.description == expected)
    }

    @Test("a bad secret is never shown")
    func secret() async throws {
        let settings = try await Settings(
            role: .producer, arguments: [], environment: ["BECKON_STORE_KEYS": "k1:hunter2"])
        let error = #expect(throws: SettingsError.self) { try settings(Settings.storeKeys) }
        #expect(error?.description.contains("hunter2") == false)
        #expect(error?.description.contains("BECKON_STORE_KEYS") == true)
    }

    @Test("a missing required key says all ways to set it")
    func missing() async throws {
        let settings = try await Settings(role: .producer, arguments: [], environment: [:])
        let error = #expect(throws: SettingsError.self) { try settings(Settings.kafkaServers) }
        #expect(
            error?.description.hasPrefix(
                "kafka.bootstrapServers is missing: set --kafka-bootstrap-servers, BECKON_KAFKA_BOOTSTRAP_SERVERS or")
                == true)
    }

    @Test(
        "flags that do not belong are refused",
        arguments: [
            (["--api-prot", "1"], "unknown flag --api-prot; did you mean --api-port?"),
            (["--store-keys", "x"], "--store-keys is a secret and cannot be a flag"),
            (["extra"], "unexpected argument \"extra\""),
            (["--api-port"], "--api-port needs a value"),
            (["--apns-url", "https://x"], "unknown flag --apns-url"),
        ])
    func refused(arguments: [String], expected: String) async {
        let error = await #expect(throws: SettingsError.self) {
            _ = try await Settings(role: .producer, arguments: arguments, environment: [:])
        }
        #expect(error?.description.hasPrefix(expected) == true, "\(error?.description ?? "nil")")
    }

    @Test("how often and when a challenge is pushed again no process says: challenges and their services do")
    func redelivery() async {
        for flag in ["--tracker-expected-latency", "--tracker-max-attempts"] {
            let error = await #expect(throws: SettingsError.self) {
                _ = try await Settings(role: .ackTracker, arguments: [flag, "5"], environment: [:])
            }
            #expect(error?.description.hasPrefix("unknown flag \(flag)") == true, "\(error?.description ?? "nil")")
        }
        #expect(!Settings.all.contains { $0.key.hasPrefix("tracker.") })
    }

    @Test("a file that is not there, or is no mapping, is named")
    func file() async {
        let error = await #expect(throws: SettingsError.self) {
            _ = try await Settings(role: .producer, arguments: ["--config", "/nowhere/x.yaml"], environment: [:])
        }
        #expect(error?.description.contains("/nowhere/x.yaml") == true)
    }

    @Test("docs/configuration.md has a row for every key and no other; BECKON_WRITE_DOCS=1 writes them")
    func documented() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/configuration.md")
        let page = try String(contentsOf: file, encoding: .utf8)
        let expected = Settings.all.map { about in
            let roles =
                about.roles == Role.everyone ? "all" : about.roles.map(\.rawValue).sorted().joined(separator: ", ")
            let isPartly = about.isRequired && about.roles.contains { !about.isRequired(by: $0) }
            let mark = isPartly ? "required (console: only for dead letters and replays)" : "required"
            let text =
                about.isRequired ? mark : about.defaultText.map { $0.isEmpty ? "none" : "`\($0)`" } ?? "none"
            return """
                | `\(about.key)` | `\(about.environmentName)` | \(about.type) | \(text) | \(about.range) | \
                \(about.isSecret ? "yes" : "") | \(roles) | \(about.summary) |
                """
        }
        let lines = page.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if ProcessInfo.processInfo.environment["BECKON_WRITE_DOCS"] == "1" {
            let kept = lines.filter { !$0.hasPrefix("| `") }
            let table = (kept.firstIndex { $0.hasPrefix("|---") } ?? kept.count - 1) + 1
            let text = (kept[..<table] + expected + kept[table...]).joined(separator: "\n")
            try text.write(to: file, atomically: true, encoding: .utf8)
        } else {
            #expect(lines.filter { $0.hasPrefix("| `") } == expected, "run this test with BECKON_WRITE_DOCS=1")
        }
    }
}
