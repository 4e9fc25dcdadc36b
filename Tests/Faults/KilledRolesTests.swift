import ChallengeModel
import Foundation
import KafkaClient
import Logging
import Simulators
import Synchronization
import TestSupport
import Testing

@Suite("Every role its own process, some killed in mid-load", .timeLimit(.minutes(10)), .serialized)
struct KilledRolesTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    static let latencyMs = 2000
    /// Of the phones, in turn.
    static let behaviours = [
        "answers", "drops:1", "ignores", "drops:2", "denies", "notifications-off", "closed", "polls", "offline",
        "answers",
    ]

    @Test("500 challenges through kill -9 of a dispatcher, a tracker and the producer: none lost, each asked for once")
    func killed() async throws {
        try await BeckonCluster.with { cluster in
            let producer = try cluster.start("producer", "producer")
            _ = try await producer.ready()
            for name in ["dispatcher-1", "dispatcher-2"] { try cluster.start(name, "dispatcher") }
            for name in ["tracker-1", "tracker-2"] { try cluster.start(name, "ack-tracker") }
            for name in ["dispatcher-1", "dispatcher-2", "tracker-1", "tracker-2"] {
                _ = try await cluster[name]?.ready()
            }
            // Each person is asked 5 times; the first five have a second phone.
            let service = try await cluster.startPhones(100, behaviour: Self.behaviours.joined(separator: ","))
            _ = try await cluster.startPhones(5, behaviour: "ignores", name: "second phones", service: service)

            let topics = Topic.copartitioned.map { cluster.names[$0] } + [cluster.names[.events]]
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                let load = Load(cluster: cluster, service: service)
                try await withThrowingTaskGroup(of: Void.self) { group async throws in
                    group.addTask { try await load.overHTTP(250) }
                    group.addTask { try await load.overKafka(250, logger: self.logger) }
                    group.addTask { try await self.disturb(cluster) }
                    try await group.waitForAll()
                }
                let (sids, requests) = load.acknowledged
                #expect(sids.count == 250)
                #expect(requests.count == 250)

                let audit = try await settled(tail, cluster.names, sids: sids, requests: requests)
                print("500 challenges, three kills: \(audit)")
                let unsure = try await cluster.sum(
                    of: "beckon_dispatcher_attempts_unsure_total", ["dispatcher-1", "dispatcher-2"])
                try check(audit, tail, cluster.names, sids: sids, requests: requests, unsure: Int(unsure))
            }
            // Those that were not killed drain on SIGTERM and end well.
            let statuses = await cluster.stop()
            for (name, status) in statuses {
                #expect(status == 0, "\(name) ended with \(String(describing: status)):\n\(cluster[name]?.tail ?? "")")
            }
        }
    }

    /// While the load runs: a dispatcher, a tracker and the producer die, and are started again.
    private func disturb(_ cluster: BeckonCluster) async throws {
        try await Task.sleep(for: .seconds(3))
        cluster.kill("dispatcher-1")
        try await Task.sleep(for: .seconds(2))
        cluster.kill("tracker-1")
        try await Task.sleep(for: .seconds(2))
        cluster.kill("producer")
        try cluster.start("producer", "producer")
        try await Task.sleep(for: .seconds(2))
        try cluster.start("dispatcher-1", "dispatcher")
        try cluster.start("tracker-1", "ack-tracker")
    }

    /// Waits until every challenge has its receipt, or the backend was told where none can come.
    private func settled(
        _ tail: TopicTail, _ names: TopicNames, sids: Set<String>, requests: Set<String>
    ) async throws -> DeliveryAudit {
        // An escalation comes at the latest after 60 % of a life of 300 s.
        let end = ContinuousClock.now + .seconds(240)
        while true {
            let audit = try DeliveryAudit(tail, names)
            let isComplete =
                try audit.created.count >= sids.count + requests.count && unheard(audit, tail, names).isEmpty
                && audit.withoutOutcome.isEmpty
            if isComplete || ContinuousClock.now > end { return audit }
            try await Task.sleep(for: .milliseconds(250))
        }
    }

    private func check(
        _ audit: DeliveryAudit, _ tail: TopicTail, _ names: TopicNames, sids: Set<String>, requests: Set<String>,
        unsure: Int
    ) throws {
        // Nothing acknowledged is lost.
        #expect(sids.subtracting(audit.created).isEmpty, "created over HTTP, never dispatched")
        let made = try challengesByRequest(tail, names)
        #expect(Set(made.keys) == requests)
        #expect(made.filter { $0.value.count != 1 }.isEmpty, "one challenge per request id")
        #expect(
            Set(made.values.flatMap { $0 }).subtracting(audit.created).isEmpty, "asked for over Kafka, never dispatched"
        )
        // Every dispatch is pushed, or its outcome says why not. Of what a dispatcher pushed before it died the receipt
        // may be all that is known: its successor finds it confirmed, and says so.
        let neverPushed = audit.created.subtracting(audit.pushed).subtracting(audit.confirmed)
        let storiesNeverPushed = try stories(of: neverPushed, tail, names)
        #expect(neverPushed.isEmpty, "never pushed: \(storiesNeverPushed)")
        #expect(audit.withoutOutcome.isEmpty)
        // Unconfirmed is pushed again, until a receipt; then no more.
        let unheard = try unheard(audit, tail, names)
        let storiesUnheard = try stories(of: unheard, tail, names)
        #expect(unheard.isEmpty, "neither confirmed nor told to the backend: \(storiesUnheard)")
        let offline = try challenges(of: ["offline"], tail, names)
        #expect(offline.count >= 40 && offline.isSubset(of: audit.escalated), "a phone that is away, and nobody told")
        #expect(try unconfirmedNotRepeated(tail, names) == [])
        // On a machine that is busy for seconds the newest receipts cannot be read in time; the dispatcher counts that.
        let storiesAfterReceipt = try stories(
            of: Set(audit.afterReceipt.map { String($0.prefix { $0 != " " }) }), tail, names)
        #expect(
            audit.afterReceipt.count <= unsure,
            "\(unsure) unsure, after the receipt \(audit.afterReceipt): \(storiesAfterReceipt)")
        #expect(audit.mostAttempts >= 2, "no phone has lost a push")
        #expect(audit.mostAttempts <= 4)
        // Nothing after its expiry; one final status.
        #expect(audit.afterExpiry.isEmpty)
        #expect(audit.resolved.filter { $0.value.count > 1 }.isEmpty)
    }

    /// Challenges without a receipt; of people whose phone may not confirm, those without an escalation either.
    private func unheard(_ audit: DeliveryAudit, _ tail: TopicTail, _ names: TopicNames) throws -> Set<String> {
        // Where notifications are off only the background pushes wake the app, and they have a budget.
        let silent = try challenges(of: ["offline", "notifications-off"], tail, names)
        return audit.created.subtracting(audit.confirmed).subtracting(silent.intersection(audit.escalated))
    }

    /// What the topics say of the first few of these challenges, in the order of time.
    private func stories(of challenges: Set<String>, _ tail: TopicTail, _ names: TopicNames) throws -> String {
        var lines: [String: [(atMs: Int64, text: String)]] = [:]
        for record in tail.records(of: names[.challenges]) {
            guard case .dispatch(let dispatch) = try ChallengeRecord(value: record.value, contentType: nil).kind else {
                continue
            }
            lines[dispatch.challengeSid, default: []].append(
                (record.timestampMs, "dispatch \(dispatch.dispatchID) for \(dispatch.identity)"))
        }
        for record in tail.records(of: names[.outcomes]) {
            switch try OutcomeRecord(value: record.value, contentType: nil).kind {
            case .push(let outcome):
                let said =
                    "\(outcome.kind) \(outcome.disposition) \(outcome.dropReason) \(outcome.reason), sent at \(outcome.sentAtMs)"
                lines[outcome.challengeSid, default: []].append((record.timestampMs, "\(outcome.dispatchID) \(said)"))
            case .escalation(let escalation):
                lines[escalation.challengeSid, default: []].append((record.timestampMs, "escalation"))
            case nil: break
            }
        }
        for record in tail.records(of: names[.receipts]) {
            let receipt = try Receipt(value: record.value, contentType: nil)
            lines[receipt.challengeSid, default: []].append(
                (tail.appendedByMs(record), "receipt \(receipt.channel) of \(receipt.dispatchID)"))
        }
        return challenges.sorted().prefix(5).map { sid in
            let story = (lines[sid] ?? []).sorted { $0.atMs < $1.atMs }
            return "\(sid): " + story.map { "\($0.atMs) \($0.text)" }.joined(separator: "; ")
        }.joined(separator: " | ")
    }

    /// Challenges of people whose phone behaves like one of these.
    private func challenges(
        of behaviours: Set<String>, _ tail: TopicTail, _ names: TopicNames
    ) throws -> Set<String> {
        var found: Set<String> = []
        for record in tail.records(of: names[.challenges]) {
            guard case .dispatch(let dispatch) = try ChallengeRecord(value: record.value, contentType: nil).kind,
                let person = Int(dispatch.identity.suffix(5)),
                behaviours.contains(Self.behaviours[(person - 1) % Self.behaviours.count])
            else { continue }
            found.insert(dispatch.challengeSid)
        }
        return found
    }

    private func challengesByRequest(_ tail: TopicTail, _ names: TopicNames) throws -> [String: Set<String>] {
        var made: [String: Set<String>] = [:]
        for record in tail.records(of: names[.events]) {
            let event = try CloudEvent(json: record.value)
            guard event.type == "beckon.challenge.created", let request = event.data["request_id"]?.stringValue else {
                continue
            }
            made[request, default: []].insert(event.subject)
        }
        return made
    }

    /// Devices whose accepted push had no receipt, and whose challenge no answer, for long after the expected latency,
    /// and that were not pushed to again.
    private func unconfirmedNotRepeated(_ tail: TopicTail, _ names: TopicNames) throws -> [String] {
        var acceptedAtMs: [String: Int64] = [:]
        var repeated: Set<String> = []
        for record in tail.records(of: names[.outcomes]) {
            guard case .push(let outcome) = try OutcomeRecord(value: record.value, contentType: nil).kind else {
                continue
            }
            let device = "\(outcome.challengeSid) \(outcome.factorSid)"
            if outcome.dispatchID != "c" { repeated.insert(device) }
            if outcome.dispatchID == "c", outcome.disposition == .accepted, outcome.kind == .visible {
                acceptedAtMs[device] = min(acceptedAtMs[device] ?? .max, outcome.atMs)
            }
        }
        var heardAtMs: [String: Int64] = [:]
        for record in tail.records(of: names[.receipts]) {
            let receipt = try Receipt(value: record.value, contentType: ContentType.protobuf.rawValue)
            let device = "\(receipt.challengeSid) \(receipt.factorSid)"
            heardAtMs[device] = min(heardAtMs[device] ?? .max, tail.appendedByMs(record))
        }
        // Another phone of the person may have answered.
        var answeredAtMs: [String: Int64] = [:]
        for record in tail.records(of: names[.resolutions]) {
            let resolution = try Resolution(value: record.value, contentType: ContentType.protobuf.rawValue)
            answeredAtMs[resolution.challengeSid] = tail.appendedByMs(record)
        }
        // A tracker's partitions are served again 10 s after its death at the latest.
        let patience = Int64(Self.latencyMs) + 10_000
        return acceptedAtMs.compactMap { device, at in
            let challenge = String(device.prefix { $0 != " " })
            let endedAtMs = min(heardAtMs[device] ?? .max, answeredAtMs[challenge] ?? .max)
            return endedAtMs > at + patience && !repeated.contains(device) ? device : nil
        }.sorted()
    }
}

/// Challenges asked for at a steady pace, and which of them were acknowledged.
private final class Load: Sendable {
    private let cluster: BeckonCluster
    private let service: String
    private let state = Mutex((sids: Set<String>(), requests: Set<String>()))

    init(cluster: BeckonCluster, service: String) {
        self.cluster = cluster
        self.service = service
    }

    var acknowledged: (sids: Set<String>, requests: Set<String>) { state.withLock { $0 } }

    /// Identities in turn, so that the challenges of one person are far apart.
    private func identity(_ index: Int) -> String { "person-" + String(100_001 + index % 100).dropFirst() }

    func overHTTP(_ count: Int) async throws {
        for index in 0..<count {
            var draft = ChallengeDraft(message: "Over HTTP, \(index)?")
            draft.expectedLatencyMs = KilledRolesTests.latencyMs
            draft.fallbacks = ["sms"]
            let sid = try await created(identity(index), draft)
            state.withLock { _ = $0.sids.insert(sid) }
            try await Task.sleep(for: .milliseconds(40))
        }
    }

    /// As a backend does it: no answer, a refused connection and 503 are tried again.
    private func created(_ identity: String, _ draft: ChallengeDraft) async throws -> String {
        let end = ContinuousClock.now + .seconds(300)
        while true {
            do {
                return try await cluster.backend.createChallenge(serviceSID: service, identity: identity, draft).sid
            } catch let error as BackendError where [0, 503].contains(error.status) && ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    func overKafka(_ count: Int, logger: Logger) async throws {
        let producer = try KafkaProducer(configuration: cluster.kafka, logger: logger)
        for index in 0..<count {
            let request = "request-\(UUID().uuidString.lowercased())"
            // Every tenth is written twice, as a backend does that does not know whether the first one went through.
            for _ in 0..<(index % 10 == 0 ? 2 : 1) {
                _ = try await producer.send(
                    ProducerRecord(
                        topic: cluster.names[.requests], key: Array(request.utf8),
                        value: Array(
                            """
                            {"requestId":"\(request)","serviceSid":"\(service)","identity":"\(identity(index + 50))",\
                            "message":"Over Kafka, \(index)?","fallbacks":["sms"],\
                            "redelivery":{"expectedLatencyMs":\(KilledRolesTests.latencyMs)}}
                            """.utf8), headers: [RecordHeader(ContentType.headerName, "application/json")]))
            }
            state.withLock { _ = $0.requests.insert(request) }
            try await Task.sleep(for: .milliseconds(40))
        }
        await producer.close(deadline: .seconds(5))
    }
}
