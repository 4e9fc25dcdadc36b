import Foundation
import Simulators
import TestSupport

/// The cluster of ``ClusterCampaignTests``: three of each role, each producer with a way of its own to PostgreSQL.
final class ClusterStage: Sendable {
    let cluster: BeckonCluster
    let server: PostgresServer
    let proxies: [PostgresProxy]
    /// Of the producers.
    let apis: [String]
    let service: String
    private let more: [String: [String: String]]

    static let producers = (0..<3).map { "producer-\($0)" }
    static let dispatchers = (0..<3).map { "dispatcher-\($0)" }
    static let trackers = (0..<3).map { "tracker-\($0)" }
    static let roles = producers + dispatchers + trackers
    /// Of the phones, in turn.
    private static let behaviours = ["answers", "denies", "answers", "ignores", "drops:1", "offline"]
    static let people = 30

    init(_ cluster: BeckonCluster, server: PostgresServer, database: String, proxies: [PostgresProxy]) async throws {
        self.cluster = cluster
        self.server = server
        self.proxies = proxies
        let ports = try proxies.map { _ in try BeckonCluster.freePort() }
        apis = ports.map { "http://127.0.0.1:\($0)" }
        var more: [String: [String: String]] = [:]
        for (index, name) in Self.producers.enumerated() {
            more[name] = [
                "BECKON_API_PORT": "\(ports[index])",
                "BECKON_STORE_URL": PostgresServer.url(database, port: proxies[index].port),
            ]
        }
        self.more = more
        for name in Self.roles { try Self.start(name, in: cluster, more) }
        for name in Self.roles { _ = try await cluster[name]?.ready() }
        // Phones that call each producer: a load balancer's work, done beforehand.
        let behaviour = Self.behaviours.joined(separator: ",")
        var service: String?
        for (index, api) in apis.enumerated() {
            service = try await cluster.startPhones(
                Self.people, behaviour: behaviour, name: "phones-\(index)", service: service, api: api,
                prefix: "p\(index)-")
        }
        self.service = service ?? ""
    }

    /// Starts a role again.
    func start(_ name: String) throws { try Self.start(name, in: cluster, more) }

    private static func start(_ name: String, in cluster: BeckonCluster, _ more: [String: [String: String]]) throws {
        let role = name.hasPrefix("tracker") ? "ack-tracker" : String(name.prefix { $0 != "-" })
        try cluster.start(name, role, more: more[name] ?? [:])
    }

    /// Everybody in turn, so that the challenges of one person are far apart.
    static func identity(_ index: Int) -> String {
        "p\(index % 3)-" + String(100_001 + index / 3 % people).dropFirst()
    }
}
