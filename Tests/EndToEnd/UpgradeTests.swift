import AsyncHTTPClient
import DeviceKit
import Foundation
import Simulators
import Synchronization
import TestSupport
import Testing

/// `beckon migrate up` from the former schema to this one, while producers serve.
///
/// The producer that was started before is the old binary when `BECKON_TEST_OLD_BINARY` names one; otherwise it is this
/// one, at the former schema when it began.
@Suite("Upgrade of the schema", .postgres, .timeLimit(.minutes(10)))
struct UpgradeTests {
    private struct Step: Decodable {
        let step: String
        let done: String
    }

    @Test(
        "producers started before and after the migration serve side by side under load: no request fails, and each goes on with the other's rows"
    )
    func sideBySide() async throws {
        let server = try await PostgresServer()
        let url = server.url(try await server.database())
        let store = ["--store-url", url]
        @Sendable func steps() async throws -> [Step] {
            try await BeckonProcess.output(of: ["migrate", "status"] + store).split(separator: "\n").map {
                try JSONDecoder().decode(Step.self, from: Data($0.utf8))
            }
        }
        let numbers = try await steps().map(\.step)
        let former = numbers[numbers.count - 2]
        _ = try await BeckonProcess.output(of: ["migrate", "up", "--to", former] + store)
        try await BeckonCluster.with(storeURL: url) { cluster in
            let binary = ProcessInfo.processInfo.environment["BECKON_TEST_OLD_BINARY"]
            let old = try cluster.start("old", "producer", executable: binary.map { URL(filePath: $0) })
            _ = try await old.ready()
            let load = try await Load(cluster, people: 4)
            // Written under the former schema, and left pending.
            let before = try await load.challenges()
            #expect(try await steps().filter { $0.done == "true" }.last?.step == former)
            try await load.during(calls: 40) {
                let said = try await cluster.run(["migrate", "up"])
                #expect(said.contains("\"step\":\"\(numbers.last ?? "")\""))
            }
            #expect(try await steps().allSatisfy { $0.done == "true" })
            let port = try BeckonCluster.freePort()
            try await load.during(calls: 40) {
                _ = try await cluster.start("new", "producer", more: ["BECKON_API_PORT": "\(port)"]).ready()
            }
            let newAPI = "http://127.0.0.1:\(port)"
            load.add(newAPI)
            try await load.during(calls: 120) {}
            try await load.approve(before, at: newAPI)
            let after = try await load.challenges(at: newAPI)
            try await load.approve(after, at: cluster.apiURL)
            // The load balancer takes the old one out, and it is stopped.
            load.remove(cluster.apiURL)
            try await load.during(calls: 40) { #expect(await old.stop() == 0) }
            #expect(load.failures == [], "\(cluster.tails)")
            #expect(load.calls > 240)
        }
        try await server.stop()
    }
}

/// People who sign in all the time, in turn at the producers that a load balancer knows.
private final class Load: Sendable {
    private struct State {
        var apis: [String]
        var calls = 0
        var failures: [String] = []
        var isOver = false
    }

    private let cluster: BeckonCluster
    private let service: String
    private let people: [(identity: String, registration: DeviceRegistration, key: SoftwareKey)]
    private let state: Mutex<State>

    init(_ cluster: BeckonCluster, people count: Int) async throws {
        self.cluster = cluster
        state = Mutex(State(apis: [cluster.apiURL]))
        service = try await cluster.backend.createService(friendlyName: "bank")
        var people: [(identity: String, registration: DeviceRegistration, key: SoftwareKey)] = []
        for index in 0..<count {
            let (identity, key) = ("person-\(100 + index)", SoftwareKey())
            let token = try await cluster.backend.createAccessToken(serviceSID: service, identity: identity)
            let device = try await Self.client(cluster, cluster.apiURL).register(
                accessToken: token,
                enrolment: Enrolment(
                    serviceSID: service, identity: identity, friendlyName: "phone", appID: "dev.beckon.phone",
                    platform: .none, pushToken: nil), signer: key)
            try await device.verify()
            people.append((identity, device.registration, key))
        }
        self.people = people
    }

    private static func client(_ cluster: BeckonCluster, _ api: String) -> DeviceClient {
        DeviceClient(apiURL: api, transport: HTTPClientTransport(cluster.client))
    }

    var failures: [String] { state.withLock { $0.failures } }
    /// That were answered as they should.
    var calls: Int { state.withLock { $0.calls } }

    func add(_ api: String) { state.withLock { $0.apis.append(api) } }
    func remove(_ api: String) { state.withLock { $0.apis.removeAll { $0 == api } } }

    /// Everybody signs in again and again while `body` runs, and until so many calls more were made behind it.
    func during(calls: Int, _ body: @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            state.withLock { $0.isOver = false }
            defer { state.withLock { $0.isOver = true } }
            for index in people.indices {
                tasks.addTask { [self] in
                    var turn = index
                    while !state.withLock({ $0.isOver }) {
                        let apis = state.withLock { $0.apis }
                        await signIn(index, at: apis[turn % apis.count], then: apis[(turn + 1) % apis.count])
                        turn += 1
                    }
                }
            }
            try await body()
            let before = self.calls + failures.count
            while self.calls + failures.count < before + calls { try await Task.sleep(for: .milliseconds(10)) }
        }
    }

    /// Created at one producer, answered at another, and read at the first.
    private func signIn(_ index: Int, at first: String, then second: String) async {
        do {
            let sid = try await challenge(index, at: first)
            try await approve(sid, index, at: second)
            let status = try await cluster.backend(at: first).challenge(
                serviceSID: service, identity: people[index].identity, sid: sid
            ).status
            state.withLock { state in
                state.calls += 3
                if status != "approved" { state.failures.append("\(sid) is \(status)") }
            }
        } catch {
            state.withLock { $0.failures.append("\(first), \(second): \(error)") }
        }
    }

    private func challenge(_ index: Int, at api: String) async throws -> String {
        var draft = ChallengeDraft(message: "Sign in?")
        draft.factorSID = people[index].registration.factorSID
        return try await cluster.backend(at: api).createChallenge(
            serviceSID: service, identity: people[index].identity, draft
        ).sid
    }

    private func approve(_ sid: String, _ index: Int, at api: String) async throws {
        let device = Self.client(cluster, api).device(people[index].registration, signer: people[index].key)
        try await device.answer(device.challenge(sid), approved: true)
    }

    /// One of each person, pending.
    func challenges(at api: String? = nil) async throws -> [String] {
        var sids: [String] = []
        for index in people.indices { sids.append(try await challenge(index, at: api ?? cluster.apiURL)) }
        return sids
    }

    func approve(_ sids: [String], at api: String) async throws {
        for (index, sid) in sids.enumerated() { try await approve(sid, index, at: api) }
    }
}
