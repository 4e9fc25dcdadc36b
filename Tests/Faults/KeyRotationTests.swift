import ChallengeModel
import Foundation
import KafkaClient
import Logging
import Simulators
import Synchronization
import TestSupport
import Testing
import Wire

/// docs/operations.md, "Rotating the keys" and "Store keys", and docs/events.md, "Rotating the keys": all four key
/// rings, role by role, under load.
@Suite("Every key ring is rotated under load", .timeLimit(.minutes(10)), .serialized, .postgres)
struct KeyRotationTests {
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private static let roles = [
        ("tracker", "ack-tracker"), ("dispatcher", "dispatcher"), ("relay", "webhooks"), ("producer", "producer"),
        ("producer-b", "producer"),
    ]
    private static let people = 20
    /// Not 127.0.0.1: webhooks may not name the addresses of the brokers.
    private static let receiverHost = "127.0.0.2"

    /// The values of the four key rings in one phase.
    private struct Rings {
        var record, store, configuration: KeyRing
        var events: String

        var environment: [String: String] {
            [
                "BECKON_RECORD_KEYS": record.text, "BECKON_STORE_KEYS": store.text,
                "BECKON_CONFIGURATION_KEYS": configuration.text, "BECKON_EVENT_KEYS": events,
            ]
        }
    }

    /// The three phases of a rotation, as the documentation has them.
    private struct Rotation {
        let before, announced, inUse, retired: Rings

        /// - Parameter cluster: the rotation begins with its keys.
        init(of cluster: BeckonCluster) async throws {
            func rings(_ variable: String) throws -> (old: KeyRing, new: KeyRing) {
                (try KeyRing(parsing: cluster.setting(variable) ?? ""), .random(id: "k2"))
            }
            func ring(_ rings: KeyRing...) -> KeyRing { KeyRing(keys: rings.flatMap(\.keys)) }
            let (record, store) = (try rings("BECKON_RECORD_KEYS"), try rings("BECKON_STORE_KEYS"))
            let configuration = try rings("BECKON_CONFIGURATION_KEYS")
            let events = try await BeckonProcess.output(of: ["keys", "new"]).trimmingCharacters(in: .newlines)
            let printed = try await BeckonProcess.output(
                of: ["keys", "rotate"], environment: ["BECKON_EVENT_KEYS": events])
            let steps = try JSONDecoder().decode([String: String].self, from: Data(printed.utf8))
            before = Rings(record: record.old, store: store.old, configuration: configuration.old, events: events)
            announced = Rings(
                record: ring(record.old, record.new), store: ring(store.old, store.new),
                configuration: ring(configuration.old, configuration.new), events: steps["announced"] ?? "")
            inUse = Rings(
                record: ring(record.new, record.old), store: ring(store.new, store.old),
                configuration: ring(configuration.new, configuration.old), events: steps["in_use"] ?? "")
            // Records that the old record key signed are still on the log.
            retired = Rings(
                record: ring(record.new, record.old), store: store.new, configuration: configuration.new,
                events: steps["retired"] ?? "")
        }
    }

    /// The challenges whose approval a webhook received, by the path of the webhook.
    private final class Approvals: Sendable {
        private let sids = Mutex<[String: Set<String>]>([:])

        func take(_ request: ReceivedRequest) -> ReceiverAnswer {
            guard let event = try? CloudEvent(json: request.body), event.type == "beckon.challenge.approved" else {
                return .status(204)
            }
            let path = String(request.target.prefix { $0 != "?" })
            sids.withLock { _ = $0[path, default: []].insert(event.subject) }
            return .status(204)
        }

        func at(_ path: String) -> Set<String> { sids.withLock { $0[path] ?? [] } }
    }

    @Test(
        "all keys are announced, then used, then retired: no dead letter, no hold, every challenge approved and reported"
    )
    func everyRing() async throws {
        let server = try await PostgresServer()
        let database = try await server.database()
        let url = server.url(database)
        _ = try await BeckonProcess.output(of: ["migrate", "up"], environment: ["BECKON_STORE_URL": url])
        try await BeckonCluster.with(storeURL: url) { cluster in
            try await rotate(cluster)
        }
        try await server.stop()
    }

    private func rotate(_ cluster: BeckonCluster) async throws {
        let rotation = try await Rotation(of: cluster)
        let secondPort = try BeckonCluster.freePort()
        let hooks = [
            "BECKON_WEBHOOKS_ALLOWED_HOSTS": "\(Self.receiverHost)/32", "BECKON_WEBHOOKS_ALLOW_CLEAR_TEXT": "true",
        ]
        @Sendable func start(_ name: String, _ role: String, _ rings: Rings) async throws {
            var more = rings.environment.merging(hooks) { $1 }
            if name == "producer-b" { more["BECKON_API_PORT"] = "\(secondPort)" }
            try cluster.start(name, role, more: more)
            _ = try await cluster[name]?.ready()
        }
        for (name, role) in Self.roles.reversed() { try await start(name, role, rotation.before) }
        let approvals = Approvals()
        let receiver = SimulatedReceiver(certificates: nil) { approvals.take($0) }
        let port = try await receiver.start(host: Self.receiverHost)
        let service = try await cluster.startPhones(Self.people, behaviour: "answers")
        let backends = [cluster.backend, cluster.backend(at: "http://127.0.0.1:\(secondPort)")]
        @Sendable func addWebhook(_ path: String) async throws {
            _ = try await backends[0].request(
                "POST", path: "/v2/Services/\(service)/Webhooks",
                form: [
                    ("FriendlyName", path), ("EventTypes", "*"), ("Format", "json"),
                    ("WebhookUrl", "http://\(Self.receiverHost):\(port)\(path)"),
                ])
        }
        try await addWebhook("/first")
        let names = cluster.names
        let topics = (Topic.copartitioned + [.events, .deadLetters]).map { names[$0] }
        try await TopicTail.following(topics, kafka: cluster.kafka, logger: Self.logger) { tail in
            // A relay learns of a new webhook some seconds later.
            while approvals.at("/first").isEmpty {
                _ = try await backends[0].createChallenge(
                    serviceSID: service, identity: "person-00001", ChallengeDraft(message: "Sign in?"))
                try await Task.sleep(for: .milliseconds(500))
            }
            let load = Task { await Self.load(backends, service) }
            defer { load.cancel() }
            // Any order of roles within a phase.
            for (name, role) in Self.roles {
                await cluster[name]?.stop()
                try await start(name, role, rotation.announced)
            }
            for (name, role) in Self.roles.reversed() {
                await cluster[name]?.stop()
                try await start(name, role, rotation.inUse)
                // Sealed with the new store key, while the other producer and the relay still seal with the old one.
                if name == "producer-b" { try await addWebhook("/second") }
            }
            let resealed = try await cluster.run(["secrets", "reseal"], more: rotation.inUse.environment)
            #expect(resealed.contains(#""retired_keys":"k1""#), "\(resealed)")
            for (name, role) in Self.roles {
                await cluster[name]?.stop()
                try await start(name, role, rotation.retired)
            }
            try await expectNewKeys(tail, names)

            load.cancel()
            let identities = await load.value
            let sids = Set(identities.keys)
            #expect(sids.count > 50)
            func audit() throws -> DeliveryAudit { try DeliveryAudit(tail, names) }
            try await eventually("every challenge is confirmed and approved, and both webhooks know") {
                let found = try audit()
                return sids.isSubset(of: found.confirmed) && found.withoutOutcome.isEmpty
                    && sids.isSubset(of: approvals.at("/first"))
            } or: {
                let found = try? audit()
                let unreported = sids.subtracting(approvals.at("/first"))
                var stories: [String] = []
                for sid in unreported.prefix(5) {
                    let read = try? await backends[0].challenge(
                        serviceSID: service, identity: identities[sid] ?? "", sid: sid)
                    let events = tail.records(of: names[.events]).compactMap { try? CloudEvent(json: $0.value) }
                        .filter { $0.subject == sid }.map(\.type)
                    stories.append(
                        "\(sid): \(read?.status ?? "unread"), resolved \(found?.resolved[sid] ?? []), events \(events)")
                }
                return "not confirmed: \(found.map { sids.subtracting($0.confirmed).count } ?? -1), not reported: "
                    + "\(unreported.count) \(stories)\n" + cluster.tails
            }
            let found = try audit()
            #expect(found.duplicatedUnits.isEmpty && found.afterReceipt.isEmpty, "\(found)")
            #expect(!approvals.at("/second").isEmpty)
            #expect(tail.records(of: names[.deadLetters]).isEmpty)
            let unreadable = try await cluster.sum(
                of: "beckon_dispatcher_unreadable_credentials", ["dispatcher"])
            #expect(unreadable == 0)
            for (name, _) in Self.roles {
                #expect(cluster[name]?.output.contains("a partition is held") == false, "\(name)")
            }
        }
        await receiver.stop()
    }

    /// Steady creations at both producers, until cancelled. One is away while it is restarted; its turn goes to the
    /// other.
    /// - Returns: the identities of the challenges that were acknowledged, by SID.
    private static func load(_ backends: [BackendClient], _ service: String) async -> [String: String] {
        var identities: [String: String] = [:]
        var number = 0
        while !Task.isCancelled {
            number += 1
            var draft = ChallengeDraft(message: "Sign in?")
            // Longer than any restart here: a second attempt would be a device that was not asked in time.
            draft.expectedLatencyMs = 60_000
            let identity = "person-" + String(100_001 + number % people).dropFirst()
            for backend in [backends[number % 2], backends[(number + 1) % 2]] {
                let made = try? await backend.createChallenge(serviceSID: service, identity: identity, draft)
                guard let made else { continue }
                identities[made.sid] = identity
                break
            }
            try? await Task.sleep(for: .milliseconds(80))
        }
        return identities
    }

    /// Waits until new records of every topic are signed with the new keys.
    private func expectNewKeys(_ tail: TopicTail, _ names: TopicNames) async throws {
        let headers: [(topic: Topic, name: String, prefix: String)] =
            (Topic.copartitioned + [.events]).map { ($0, RecordAuthenticator.headerName, "k2:") }
            + [(.events, EventSigner.headerName, "e2:")]
        for header in headers {
            let topic = names[header.topic]
            let before = tail.count(of: topic)
            try await eventually("new records of \(topic)") { tail.count(of: topic) >= before + 10 }
            let codes = tail.records(of: topic).dropFirst(before).map { $0.headers.text(of: header.name) ?? "" }
            #expect(!codes.isEmpty && codes.allSatisfy { $0.hasPrefix(header.prefix) }, "\(topic): \(codes)")
        }
    }

    private func eventually(
        _ what: String, _ condition: () throws -> Bool, or detail: () async -> String = { "" }
    ) async throws {
        let end = ContinuousClock.now + .seconds(180)
        while try !condition() {
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "never: \(what)\n\(await detail())")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }
}
