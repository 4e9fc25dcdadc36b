import ChallengeModel
import Foundation
import KafkaClient
import Logging
import ServiceSupport
import Simulators
import Synchronization
import TestSupport
import Testing
import Wire

/// Two relays as processes and 20 endpoints under load, while one endpoint is down, one hangs, and each relay is killed
/// twice. `scripts/webhook-campaign` runs it for two minutes.
@Suite(
    "Webhook relays under faults", .serialized, .timeLimit(.minutes(30)),
    .enabled(
        if: ProcessInfo.processInfo.environment["BECKON_WEBHOOK_SECONDS"] != nil, "scripts/webhook-campaign runs it"))
struct WebhookCampaignTests {
    private static let variables = ProcessInfo.processInfo.environment
    /// How long the one endpoint is down, and the other hangs.
    static let seconds = variables["BECKON_WEBHOOK_SECONDS"].flatMap { Int($0) } ?? 120
    /// Events a second, over all endpoints.
    static let rate = variables["BECKON_WEBHOOK_RATE"].flatMap { Int($0) } ?? 200
    private static let endpoints = 20
    private static let host = "127.0.0.2"

    /// An endpoint with a service of its own.
    private struct Endpoint {
        let receiver: SimulatedReceiver
        let port: Int
        let service: String
    }

    private struct Delivery {
        let event: String
        let message: String
        let atMs: Int64
    }

    /// What each endpoint got.
    private final class Deliveries: Sendable {
        private struct State {
            var all: [Int: [Delivery]] = [:]
            var hanging: Int?
        }

        private let state = Mutex(State())

        func take(_ request: ReceivedRequest, at endpoint: Int) -> ReceiverAnswer {
            let nowMs = Timestamp.nowMs()
            return state.withLock { state in
                if state.hanging == endpoint { return .hang }
                let event = (try? CloudEvent(json: request.body))?.id ?? ""
                state.all[endpoint, default: []].append(
                    Delivery(event: event, message: request.header("webhook-id") ?? "", atMs: nowMs))
                return .status(204)
            }
        }

        func hang(_ endpoint: Int?) { state.withLock { $0.hanging = endpoint } }
        func at(_ endpoint: Int) -> [Delivery] { state.withLock { $0.all[endpoint] ?? [] } }
    }

    /// An event that was written.
    private struct Written: Sendable {
        let id: String
        let challenge: String
        let endpoint: Int
        let atMs: Int64

        /// Of the topics that are keyed by challenge.
        var partition: Int32 { Murmur2.partition(key: Array(challenge.utf8), partitions: 12) }
    }

    @Test("every event arrives, in the order of its challenge, with one id, and the healthy endpoints wait for nobody")
    func campaign() async throws {
        try await BeckonCluster.with { cluster in
            let certificates = try SimulatedCertificates(hosts: [Self.host])
            let caFile = cluster.folder.appending(path: "hooks.pem").path
            try certificates.writePEM(to: caFile)
            let more = ["BECKON_WEBHOOKS_ALLOWED_HOSTS": "127.0.0.2/32", "BECKON_WEBHOOKS_CA_FILE": caFile]
            try cluster.start("producer", "producer", more: more)
            // Each has a place of its own, where it is started again.
            var places: [String: [String: String]] = [:]
            for relay in ["relay-a", "relay-b"] {
                places[relay] = try more.merging(["BECKON_ADMIN_PORT": "\(BeckonCluster.freePort())"]) { $1 }
                try cluster.start(relay, "webhooks", more: places[relay] ?? [:])
            }
            for name in ["producer", "relay-a", "relay-b"] { _ = try await cluster[name]?.ready() }
            let deliveries = Deliveries()
            var endpoints: [Endpoint] = []
            for number in 0..<Self.endpoints {
                let receiver = SimulatedReceiver(certificates: certificates) { deliveries.take($0, at: number) }
                let port = try await receiver.start(host: Self.host)
                let service = try await cluster.backend.createService(friendlyName: "shop \(number)")
                _ = try await cluster.backend.request(
                    "POST", path: "/v2/Services/\(service)/Webhooks",
                    form: [
                        ("FriendlyName", "hook"), ("EventTypes", "*"), ("Format", "json"),
                        ("WebhookUrl", "https://\(Self.host):\(port)/hook"),
                    ])
                endpoints.append(Endpoint(receiver: receiver, port: port, service: service))
            }
            let writer = try Writer(cluster, services: endpoints.map(\.service))
            var memory = RelayProcesses(["relay-a", "relay-b"], of: cluster)

            // A client's first records wait for its first answers, which is no relay's work.
            let first = try await writer.write(seconds: 2, perSecond: Self.rate)
            try await Self.wait("the first events arrive") { Self.missing(first, deliveries) == 0 }
            // Well.
            let calm = try await writer.write(seconds: 20, perSecond: Self.rate)
            try await Self.wait("the calm events arrive") { Self.missing(calm, deliveries) == 0 }
            memory.note("calm")
            // One is down, and one hangs.
            await endpoints[1].receiver.goDown()
            deliveries.hang(0)
            let faulty = try await writer.write(seconds: Self.seconds / 2, perSecond: Self.rate)
            memory.note("faults")
            // And the relays are killed, one after the other, and started again.
            var both: [Written] = []
            var kills: [(relay: String, ofKilled: [Written], ofLiving: [Written])] = []
            for relay in ["relay-a", "relay-b", "relay-a", "relay-b"] {
                both += try await writer.write(seconds: Self.seconds / 16, perSecond: Self.rate)
                let owned = RelayProcesses.owned(by: cluster[relay])
                memory.note("before \(relay) is killed")
                cluster.kill(relay)
                var written = try await writer.write(seconds: Self.seconds / 16, perSecond: Self.rate)
                try cluster.start(relay, "webhooks", more: places[relay] ?? [:])
                // Until both have their share again.
                let end = ContinuousClock.now + .seconds(120)
                repeat {
                    guard ContinuousClock.now < end else {
                        throw BeckonProcess.Failure(description: "\(relay) has no partitions again")
                    }
                    written += try await writer.write(seconds: 1, perSecond: Self.rate)
                } while RelayProcesses.owned(by: cluster["relay-a"]).isEmpty
                    || RelayProcesses.owned(by: cluster["relay-b"]).isEmpty
                kills.append(
                    (
                        relay, written.filter { owned.contains($0.partition) },
                        written.filter { !owned.contains($0.partition) }
                    ))
            }
            let killed = both + kills.flatMap { $0.ofKilled + $0.ofLiving }
            memory.note("last")
            deliveries.hang(nil)
            try await endpoints[1].receiver.start(host: Self.host, port: endpoints[1].port)
            let all = first + calm + faulty + killed
            try await Self.wait("every event arrives", for: .seconds(600)) { Self.missing(all, deliveries) == 0 }
            memory.note("all arrived")
            // Connections that nobody uses are closed a minute after their opening.
            try await Task.sleep(for: .seconds(65))
            memory.note("a minute later")

            let unwell: Set = [0, 1]
            let waits = kills.map { kill in
                """
                    \(kill.relay) is killed, its partitions: \(Waits(kill.ofKilled, deliveries, except: unwell))
                    \(kill.relay) is killed, the others: \(Waits(kill.ofLiving, deliveries, except: unwell))
                """
            }
            print(
                """
                webhooks: \(all.count) events, \(all.count - Self.missing(all, deliveries)) arrived, \
                \((0..<Self.endpoints).reduce(0) { $0 + deliveries.at($1).count }) deliveries
                  wait of healthy endpoints, ms:
                    first two seconds: \(Waits(first, deliveries))
                    calm: \(Waits(calm, deliveries))
                    one hangs, one is down: \(Waits(faulty, deliveries, except: unwell))
                \(waits.joined(separator: "\n"))
                    all relays run, one of them again: \(Waits(both, deliveries, except: unwell))
                  partitions that a living relay lost because its session ended: \(memory.losses)
                  memory of each relay's process, MB resident (of these anonymous):
                \(memory)
                """)
            Self.check(all, deliveries)
            for endpoint in endpoints { await endpoint.receiver.stop() }
            await writer.close()
        }
    }

    /// Order, and one message id for each event.
    private static func check(_ written: [Written], _ deliveries: Deliveries) {
        for endpoint in 0..<endpoints {
            var messages: [String: String] = [:]
            var first: [String] = []
            for delivery in deliveries.at(endpoint) {
                if let known = messages[delivery.event] {
                    #expect(known == delivery.message, "\(delivery.event) has one id")
                } else {
                    first.append(delivery.event)
                }
                messages[delivery.event] = delivery.message
            }
            let here = written.filter { $0.endpoint == endpoint }
            let expected = Dictionary(grouping: here, by: \.challenge).mapValues { $0.map(\.id) }
            let challengeOf = Dictionary(uniqueKeysWithValues: here.map { ($0.id, $0.challenge) })
            let arrived = Dictionary(grouping: first) { challengeOf[$0] ?? "" }
            for (challenge, ids) in expected { #expect(arrived[challenge] == ids, "the order of \(challenge)") }
            #expect(arrived[""] == nil)
        }
    }

    private static func missing(_ written: [Written], _ deliveries: Deliveries) -> Int {
        let arrived = (0..<endpoints).map { Set(deliveries.at($0).map(\.event)) }
        return written.count { !arrived[$0.endpoint].contains($0.id) }
    }

    private static func wait(
        _ what: String, for deadline: Duration = .seconds(60), _ condition: () -> Bool
    ) async throws {
        let end = ContinuousClock.now + deadline
        while !condition() {
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "not within \(deadline): \(what)")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// From the writing of an event to its first arrival.
    private struct Waits: CustomStringConvertible {
        private let sorted: [Int64]

        init(_ written: [Written], _ deliveries: Deliveries, except: Set<Int> = []) {
            var waits: [Int64] = []
            for endpoint in 0..<WebhookCampaignTests.endpoints where !except.contains(endpoint) {
                var first: [String: Int64] = [:]
                for delivery in deliveries.at(endpoint) where first[delivery.event] == nil {
                    first[delivery.event] = delivery.atMs
                }
                for event in written where event.endpoint == endpoint {
                    if let atMs = first[event.id] { waits.append(atMs - event.atMs) }
                }
            }
            sorted = waits.sorted()
        }

        var longestMs: Int64 { sorted.last ?? 0 }

        var description: String {
            guard !sorted.isEmpty else { return "none" }
            return
                "p50 \(sorted[sorted.count / 2]), p99 \(sorted[sorted.count * 99 / 100]), longest \(longestMs) "
                + "(\(sorted.count) events)"
        }
    }

    /// Writes events of challenges to topic `events`, as a Producer does.
    private final class Writer: Sendable {
        private static let types: [EventType] = [.challengeCreated, .challengeDispatched, .challengeApproved]

        private let producer: KafkaProducer
        private let signer: RecordSigner
        private let account: String
        private let services: [String]
        private let count = Atomic<UInt64>(0)
        private let failed = Atomic(0)

        init(_ cluster: BeckonCluster, services: [String]) throws {
            let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            producer = try KafkaProducer(configuration: cluster.kafka, logger: logger)
            signer = RecordSigner(names: cluster.names, authenticator: RecordAuthenticator(keys: cluster.recordKeys))
            account = cluster.account.sid
            self.services = services
        }

        /// Three events for each challenge, evenly spread over time and endpoints.
        func write(seconds: Int, perSecond: Int) async throws -> [Written] {
            var written: [Written] = []
            let start = ContinuousClock.now
            let challenges = max(1, seconds * perSecond / Self.types.count)
            for number in 0..<challenges {
                try await Task.sleep(until: start + .seconds(seconds) * number / challenges)
                let endpoint = number % services.count
                let challenge = ChallengeSID.generate(nowMs: Timestamp.nowMs()).rawValue
                for type in Self.types {
                    let nowMs = Timestamp.nowMs()
                    let event = CloudEvent(
                        id: "\(challenge)/\(type.rawValue)", type: type, account: account,
                        service: services[endpoint], subject: challenge, timeMs: nowMs,
                        sequence: count.add(1, ordering: .relaxed).newValue, writer: .producer,
                        data: [
                            "account_sid": .string(account), "service_sid": .string(services[endpoint]),
                            "challenge_sid": .string(challenge), "entity_identity": "person-00001",
                        ])
                    let record = signer.record(
                        .events, key: challenge, value: event.jsonBytes(), contentType: .cloudEvent)
                    producer.enqueue(record) { [self] result in
                        if case .failure = result { failed.add(1, ordering: .relaxed) }
                    }
                    written.append(Written(id: event.id, challenge: challenge, endpoint: endpoint, atMs: nowMs))
                }
            }
            guard await producer.flush(deadline: .seconds(30)), failed.load(ordering: .relaxed) == 0 else {
                throw BeckonProcess.Failure(description: "the broker did not take every event")
            }
            return written
        }

        func close() async { await producer.close(deadline: .seconds(5)) }
    }
}
