import DeviceKit
import Simulators
import TestSupport

/// Real processes and a person with a phone.
enum OnePhone {
    static let identity = "person-with-a-phone"

    /// The roles, logging everything, and one phone.
    static func with(
        _ behaviour: PhoneBehaviour,
        _ body: @Sendable @escaping (BeckonCluster, _ service: String, SimulatedPhone) async throws -> Void
    ) async throws {
        try await withMore(behaviour) { cluster, service, _, phone in try await body(cluster, service, phone) }
    }

    /// - Parameters:
    ///   - limits: of the Producer.
    ///   - body: gets the pool to enrol more phones with.
    static func withMore(
        _ behaviour: PhoneBehaviour, limits: [String: String] = [:],
        _ body: @Sendable @escaping (BeckonCluster, _ service: String, PhonePool, SimulatedPhone) async throws -> Void
    ) async throws {
        try await BeckonCluster.with { cluster in
            for (name, role) in [("producer", "producer"), ("dispatcher", "dispatcher"), ("tracker", "ack-tracker")] {
                try cluster.start(name, role, more: limits.merging(["BECKON_LOG_LEVEL": "trace"]) { $1 })
            }
            for name in ["producer", "dispatcher", "tracker"] { _ = try await cluster[name]?.ready() }
            let service = try await cluster.startPhones(1, behaviour: "answers")
            let pool = PhonePool(
                backend: cluster.backend,
                devices: DeviceClient(apiURL: cluster.apiURL, transport: HTTPClientTransport(cluster.client)),
                reception: RemotePushReception(controlURL: cluster.control, client: cluster.client))
            let phone = try await pool.enrol(
                serviceSID: service, identity: identity, name: "phone",
                profile: PhonePool.Profile(behaviour: behaviour))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await phone.run() }
                try await phone.log.wait(for: .online, deadline: .seconds(90))
                try await body(cluster, service, pool, phone)
                group.cancelAll()
            }
        }
    }
}
