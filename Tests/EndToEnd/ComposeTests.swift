import ChallengeModel
import Foundation
import ServiceSupport
import TestSupport
import Testing
import Yams

/// compose.yaml against the settings, and against what the process tests start. `scripts/compose-as-processes` runs it.
@Suite("compose.yaml", .timeLimit(.minutes(20)))
struct ComposeTests {
    private struct Service {
        var command: [String] = []
        var image = ""
        var environment: [String: String] = [:]
        var content: [String: Any] = [:]
    }

    /// All services, with merged anchors.
    private static func services() throws -> [String: Service] {
        let text = try String(contentsOf: ToolRun.root.appending(path: "compose/compose.yaml"), encoding: .utf8)
        let content = try #require(try load(yaml: text) as? [String: Any])
        let services = try #require(content["services"] as? [String: [String: Any]])
        return services.mapValues { service in
            Service(
                command: service["command"] as? [String] ?? [], image: service["image"] as? String ?? "",
                environment: (service["environment"] as? [String: Any] ?? [:]).mapValues { "\($0)" }, content: service)
        }
    }

    private static func ours() throws -> [String: Service] {
        try services().filter { $0.value.image.hasPrefix("beckon:") }
    }

    @Test("every command is one of beckon's, every variable a setting of its role, and none that it needs is missing")
    func settings() async throws {
        let services = try Self.ours()
        #expect(
            Set(services.keys) == [
                "topics", "migrate", "account", "producer-1", "producer-2", "dispatcher", "ack-tracker", "webhooks",
                "console", "simulator", "phone",
            ])
        let secrets = try await Self.secrets()
        for (name, service) in services {
            _ = try await BeckonProcess.output(of: service.command + ["--help"])
            // The tools use the producer's store.
            let role = Role(rawValue: service.command[0])
            let known = Settings.all.filter { $0.roles.contains(role ?? .producer) }
            #expect(
                Set(service.environment.keys).subtracting(known.map(\.environmentName)) == [],
                "\(name) knows no such variable")
            guard role != nil else { continue }
            let source = (service.content["secrets"] as? [[String: String]])?.first?["source"] ?? ""
            let given = Set(service.environment.keys).union(secrets[source] ?? [])
            let required = Set(known.filter(\.isRequired).map(\.environmentName))
            #expect(required.subtracting(given) == [], "\(name) does not start without them")
            let needless = (secrets[source] ?? []).subtracting(known.map(\.environmentName))
            #expect(needless == [], "\(name) gets secrets that it does not need")
        }
    }

    /// The variables that the settings of each file of scripts/compose-secrets stand for.
    private static func secrets() async throws -> [String: Set<String>] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "secrets-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let made = try await ToolRun.of("scripts/compose-secrets", [folder.path])
        #expect(made.status == 0, "\(made.output)")
        let names = Dictionary(uniqueKeysWithValues: Settings.all.map { ($0.key, $0.environmentName) })
        var secrets: [String: Set<String>] = [:]
        for role in Role.workers + [.console] {
            let text = try String(contentsOf: folder.appending(path: "\(role.rawValue).yaml"), encoding: .utf8)
            let content = try #require(try load(yaml: text) as? [String: Any])
            let keys = content.flatMap { key, value in
                (value as? [String: Any])?.keys.map { "\(key).\($0)" } ?? [key]
            }
            secrets[role.rawValue] = try Set(keys.map { try #require(names[$0], "\(role): \($0) is no setting") })
        }
        return secrets
    }

    @Test("each role is told what the process tests tell it")
    func cluster() async throws {
        let services = try Self.ours()
        let secrets = try await Self.secrets()
        let told = BeckonCluster.environment(
            kafka: "", simulator: [:], recordKeys: .random(), apiPort: 0, folder: URL(filePath: "/"))
        for role in Role.workers {
            let own = Set(Settings.all.filter { $0.roles.contains(role) }.map(\.environmentName))
            let service = try #require(services.values.first { $0.command == [role.rawValue] })
            var given = Set(service.environment.keys).union(secrets[role.rawValue] ?? [])
            // A database instead of the file.
            if given.contains("BECKON_STORE_URL") { given.insert("BECKON_STORE_PATH") }
            #expect(own.intersection(told.keys).subtracting(given) == [], "\(role.rawValue)")
        }
    }

    @Test("three brokers hold every record twice, images have versions, and our containers have few rights")
    func topology() throws {
        let services = try Self.services()
        let brokers = services.filter { $0.key.hasPrefix("kafka-") }
        #expect(brokers.count == 3)
        #expect(Set(brokers.compactMap { $0.value.environment["KAFKA_NODE_ID"] }).count == 3)
        for (name, broker) in brokers {
            #expect(broker.environment["KAFKA_MIN_INSYNC_REPLICAS"] == "2", "\(name)")
            #expect(broker.environment["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "3", "\(name)")
            #expect(broker.environment["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false", "\(name)")
            #expect(broker.environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://\(name):9092")
        }
        #expect(services["topics"]?.command == ["topics", "create", "--replication", "3"])
        for plan in TopicPlan.all {
            #expect(plan.settings(replicas: 3)["min.insync.replicas"] == "2", "\(plan.topic)")
        }
        for (name, service) in services where !service.image.hasPrefix("beckon:") {
            #expect(service.image.contains(#/:v?\d+/#), "\(name): the image has no version")
        }
        for (name, service) in try Self.ours() {
            #expect(service.content["read_only"] as? Bool == true, "\(name)")
            #expect(service.content["cap_drop"] as? [String] == ["ALL"], "\(name)")
            #expect((service.content["ulimits"] as? [String: Int])?["nofile"] == 65_536, "\(name)")
            let deploy = service.content["deploy"] as? [String: Any]
            let isShort = service.content["restart"] as? String == "no"
            #expect(isShort || (deploy?["resources"] as? [String: Any])?["limits"] != nil, "\(name) has no limits")
            let grace = Int((service.content["stop_grace_period"] as? String ?? "").dropLast()) ?? 0
            #expect(grace * 1000 > Settings.shutdownTimeout.standardMilliseconds, "\(name) is killed while it drains")
        }
        for role in ["dispatcher", "ack-tracker", "webhooks"] {
            let deploy = services[role]?.content["deploy"] as? [String: Any]
            #expect(deploy?["replicas"] as? Int == 2, "\(role)")
        }
    }

    @Test("docker-compose accepts the file, and the same services run as processes until a challenge is approved")
    func processes() async throws {
        let run = try await ToolRun.of(
            "scripts/compose-as-processes", ["--check"], environment: ["BECKON_BINARY": BeckonProcess.executable.path])
        #expect(run.status == 0, "\(run.output)")
        for check in [
            "a challenge of producer-1 was approved at producer-2", "beckon ready accepts every process",
            "the console reads 8 processes", "Prometheus scrapes 9 processes", "every process drained and ended with 0",
        ] { #expect(run.output.contains("check: \(check)"), "\(run.output)") }
    }
}
