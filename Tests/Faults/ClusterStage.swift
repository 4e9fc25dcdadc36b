import Foundation
import Simulators
import Synchronization
import TestSupport

/// The cluster of ``ClusterCampaignTests``: three of each role, each producer with ways of its own to PostgreSQL, where
/// a synchronous standby may stand beside the primary.
final class ClusterStage: Sendable {
    /// The servers have two places, and the producers know both.
    private struct Servers {
        var primary: PostgresServer
        var standby: PostgresServer?
        /// Of the primary: 0 or 1.
        var place = 0
    }

    let cluster: BeckonCluster
    /// Of the producers.
    let apis: [String]
    let service: String
    private let servers: Mutex<Servers>
    /// By the server's place, then by producer.
    private let ways: [[PostgresProxy]]
    private let more: [String: [String: String]]

    static let producers = (0..<3).map { "producer-\($0)" }
    static let dispatchers = (0..<3).map { "dispatcher-\($0)" }
    static let trackers = (0..<3).map { "tracker-\($0)" }
    static let roles = producers + dispatchers + trackers
    /// Of the phones, in turn.
    static let behaviours = ["answers", "denies", "answers", "ignores", "drops:1", "offline"]
    static let people = 30

    /// - Parameters:
    ///   - standby: nil: there is none, and none can be promoted.
    ///   - roles: what runs; the producers are among them.
    ///   - behaviours: of the phones, in turn.
    ///   - dispatcherLogLevel: with `debug` they say which partitions they begin and end with.
    init(
        _ cluster: BeckonCluster, server: PostgresServer, standby: PostgresServer? = nil, database: String,
        roles: [String] = ClusterStage.roles, behaviours: [String] = ClusterStage.behaviours,
        dispatcherLogLevel: String = "info"
    ) async throws {
        self.cluster = cluster
        servers = Mutex(Servers(primary: server, standby: standby))
        let places = [server] + (standby.map { [$0] } ?? [])
        let ways = try places.map { server in try Self.producers.map { _ in try PostgresProxy(to: server.socket) } }
        self.ways = ways
        let ports = try Self.producers.map { _ in try BeckonCluster.freePort() }
        apis = ports.map { "http://127.0.0.1:\($0)" }
        var more: [String: [String: String]] = [:]
        for (index, name) in Self.producers.enumerated() {
            more[name] = [
                "BECKON_API_PORT": "\(ports[index])",
                "BECKON_STORE_URL": PostgresServer.url(database, ports: ways.map { $0[index].port }),
            ]
        }
        for name in Self.dispatchers { more[name] = ["BECKON_LOG_LEVEL": dispatcherLogLevel] }
        self.more = more
        for name in roles { try Self.start(name, in: cluster, more) }
        for name in roles { _ = try await cluster[name]?.ready() }
        // Phones that call each producer: a load balancer's work, done beforehand.
        let behaviour = behaviours.joined(separator: ",")
        var service: String?
        for (index, api) in apis.enumerated() {
            service = try await cluster.startPhones(
                Self.people, behaviour: behaviour, name: "phones-\(index)", service: service, api: api,
                prefix: "p\(index)-")
        }
        self.service = service ?? ""
    }

    func close() { for proxy in ways.joined() { proxy.close() } }

    /// The primary.
    var server: PostgresServer { servers.withLock { $0.primary } }
    /// To the primary, by producer.
    var proxies: [PostgresProxy] { ways[servers.withLock { $0.place }] }
    var hasStandby: Bool { servers.withLock { $0.standby != nil } }

    /// Kills the primary and promotes its standby.
    func failOver() async throws {
        guard let standby = servers.withLock({ $0.standby }) else { return }
        try await server.stop(.killed)
        try await standby.promote()
        servers.withLock { $0 = Servers(primary: standby, standby: nil, place: 1 - $0.place) }
    }

    /// A new standby takes the place of the server that was lost.
    func replaceStandby() async throws {
        guard ways.count == 2, !hasStandby else { return }
        let (primary, place) = servers.withLock { ($0.primary, $0.place) }
        let standby = try await retried("a base backup of the primary", within: .seconds(120)) {
            try await PostgresServer(standbyOf: primary)
        }
        for way in ways[1 - place] { way.set(target: standby.socket) }
        try await primary.awaitStandby()
        servers.withLock { $0.standby = standby }
    }

    /// The roles that are not there although nobody stopped them, and how they ended.
    func endedRoles() -> [(name: String, how: String)] {
        Self.roles.compactMap { name in
            do {
                try cluster[name]?.hasNotEnded()
                return nil
            } catch {
                return (name, "\(error)")
            }
        }
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
