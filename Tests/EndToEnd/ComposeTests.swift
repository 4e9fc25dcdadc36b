import ChallengeModel
import Foundation
import ServiceSupport
import TestSupport
import Testing

/// The process tests run the roles as compose.yaml does; here is what "as" means.
@Suite("compose.yaml", .timeLimit(.minutes(5)))
struct ComposeTests {
    private struct Service {
        var command: [String] = []
        var variables: Set<String> = []
    }

    /// Our services by name. A reader of this file's own forms: two spaces a level, anchors for environments.
    private func services() throws -> [String: Service] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "compose/compose.yaml"), encoding: .utf8)
        var anchors: [String: Set<String>] = [:]
        var services: [String: Service] = [:]
        var (name, anchor) = ("", "")
        for line in text.split(separator: "\n") {
            if let match = line.firstMatch(of: #/^  ([a-z-]+):$/#) { name = String(match.1) }
            if let match = line.firstMatch(of: #/^ *[a-z-]+: &([a-z]+)$/#) {
                anchor = String(match.1)
            } else if line.firstMatch(of: #/^ *[a-z-]+:/#) != nil {
                anchor = ""
            }
            if let match = line.firstMatch(of: #/^    command: \[(.+)\]$/#) {
                services[name, default: Service()].command = match.1.split(separator: ", ").map {
                    $0.trimmingCharacters(in: ["\""])
                }
            }
            if let match = line.firstMatch(of: #/^ +(BECKON_[A-Z_]+): /#) {
                if !anchor.isEmpty { anchors[anchor, default: []].insert(String(match.1)) }
                if line.hasPrefix("      ") { services[name, default: Service()].variables.insert(String(match.1)) }
            }
            if line.hasPrefix("      <<: ") {
                for match in line.matches(of: #/\*([a-z]+)/#) {
                    services[name, default: Service()].variables.formUnion(anchors[String(match.1)] ?? [])
                }
            }
        }
        return services.filter { !$0.value.command.isEmpty }
    }

    @Test("every command is one of beckon's, every variable a setting of its role, and none that it needs is missing")
    func settings() async throws {
        let services = try services()
        #expect(
            Set(services.keys) == [
                "account", "producer", "dispatcher", "ack-tracker", "webhooks", "simulator", "phone",
            ])
        for (name, service) in services {
            _ = try await BeckonProcess.output(of: service.command + ["--help"])
            // The tools use the producer's store.
            let role = Role(rawValue: service.command[0]) ?? .producer
            let known = Settings.all.filter { $0.roles.contains(role) }
            #expect(service.variables.subtracting(known.map(\.environmentName)) == [], "\(name) knows no such variable")
            guard name == role.rawValue else { continue }
            let required = Set(known.filter(\.isRequired).map(\.environmentName))
            #expect(required.subtracting(service.variables) == [], "\(name) does not start without them")
        }
    }

    @Test("each role is told what the process tests tell it")
    func cluster() throws {
        let services = try services()
        let told = BeckonCluster.environment(
            kafka: "", simulator: [:], recordKeys: .random(), apiPort: 0, folder: URL(filePath: "/"))
        for role in Role.workers {
            let own = Set(Settings.all.filter { $0.roles.contains(role) }.map(\.environmentName))
            #expect(
                own.intersection(told.keys).subtracting(services[role.rawValue]?.variables ?? []) == [],
                "\(role.rawValue)")
        }
    }
}
