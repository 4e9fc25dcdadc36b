import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import ServiceSupport
import Simulators
import Synchronization
import TestSupport

struct StageError: Error, CustomStringConvertible { let description: String }

/// Broker, look-alike and dispatchers as processes; records written by the test as a Producer writes them.
final class Stage: Sendable {
    let cluster: BeckonCluster
    private let tail: TopicTail
    private let producer: KafkaProducer
    private let signer: RecordSigner
    private let configurationKeys = KeyRing.random()
    private let sids = (
        account: AccountSID.generate(nowMs: 0).rawValue, service: ServiceSID.generate(nowMs: 0).rawValue,
        apn: CredentialSID.generate(nowMs: 0).rawValue, fcm: CredentialSID.generate(nowMs: 1).rawValue
    )
    private let fed = Mutex<[String: Fed]>([:])
    /// Every dispatcher that was started.
    private let dispatchers = Mutex<Set<String>>([])

    /// A challenge that was written.
    struct Fed: Sendable {
        var provider: SimulatedProvider
        /// Epoch milliseconds.
        var atMs: Int64
        var expiresAtMs: Int64
    }

    private init(cluster: BeckonCluster, tail: TopicTail, logger: Logger) throws {
        self.cluster = cluster
        self.tail = tail
        producer = try KafkaProducer(configuration: cluster.kafka, logger: logger)
        signer = RecordSigner(names: cluster.names, authenticator: RecordAuthenticator(keys: cluster.recordKeys))
    }

    static func with(_ body: @Sendable (Stage) async throws -> Void) async throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        try await BeckonCluster.with { cluster in
            let topics = Topic.copartitioned.map { cluster.names[$0] }
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                let stage = try Stage(cluster: cluster, tail: tail, logger: logger)
                try await stage.prepare()
                try await body(stage)
                await stage.producer.close(deadline: .seconds(2))
            }
        }
    }

    private func prepare() async throws {
        let key = try JSONDecoder().decode(APNsKey.self, from: try await request(.POST, "/keys/apn"))
        try await publish(sids.apn) {
            $0.apnsToken.teamID = key.teamID
            $0.apnsToken.keyID = key.keyID
            $0.apnsToken.privateKeyPem = key.privateKeyPEM
        }
        let account = try JSONDecoder().decode([String: String].self, from: try await request(.POST, "/keys/fcm"))
        try await publish(sids.fcm) {
            $0.fcm.projectID = account["project_id"] ?? ""
            $0.fcm.clientEmail = account["client_email"] ?? ""
            $0.fcm.privateKeyID = account["private_key_id"] ?? ""
            $0.fcm.privateKeyPem = account["private_key"] ?? ""
        }
        for provider in [SimulatedProvider.apn, .fcm] { try await faults(provider) { _ in } }
    }

    private func publish(_ sid: String, _ fill: (inout ProviderCredential) -> Void) async throws {
        var credential = ProviderCredential()
        (credential.accountSid, credential.credentialSid) = (sids.account, sid)
        fill(&credential)
        let sealed = try SealedConfiguration(sealing: credential, keys: configurationKeys)
        _ = try await producer.send(signer.record(.configuration, key: sid, value: sealed.protobufBytes()))
    }

    /// A provider's faults, on top of answers that take 20 to 40 ms.
    func faults(_ provider: SimulatedProvider, _ change: (inout ProviderFaults) -> Void) async throws {
        var faults = ProviderFaults()
        faults.latencyMs = 20
        faults.latencyJitterMs = 20
        change(&faults)
        let body = String(decoding: try JSONEncoder().encode(faults), as: UTF8.self)
        _ = try await request(.PUT, "/faults/\(provider.rawValue)", body: body)
    }

    /// Every answer of the broker takes this long. In a group of several, the leader's SyncGroup otherwise overtakes
    /// the others' on a busy machine, and the stand-in then refuses theirs and elects again, 2 s later; Kafka answers
    /// them with their assignment, and needs none of this. The leader asks for metadata first, so that a round trip of
    /// some length keeps the order.
    func standIn(takesMs ms: Int) async throws {
        guard cluster.brokerControl != nil else { return }
        try await cluster.setBroker("/brokers/1/delay?ms=\(ms)")
    }

    func start(_ names: [String]) async throws -> [String] {
        for name in names {
            // It then says which partitions it begins and ends with, and what it knows of them.
            let more = ["BECKON_CONFIGURATION_KEYS": configurationKeys.text, "BECKON_LOG_LEVEL": "debug"]
            try cluster.start(name, "dispatcher", more: more)
            dispatchers.withLock { _ = $0.insert(name) }
        }
        for name in names { _ = try await cluster[name]?.ready() }
        return names
    }

    /// Writes so many challenges at a steady pace, to the providers in turn.
    /// - Parameter attempts: `Redelivery.MaxAttempts`; 0: the service's default.
    @discardableResult
    func feed(
        _ count: Int, perSecond: Int, lifeMs: Int64 = 60_000, attempts: UInt32 = 0,
        providers: [SimulatedProvider] = [.apn]
    ) async throws -> Int {
        let start = ContinuousClock.now
        for index in 0..<count {
            let provider = providers[index % providers.count]
            if index % 10 == 0 {
                try await Task.sleep(until: start + .seconds(Double(index) / Double(perSecond)), clock: .continuous)
            }
            let nowMs = Int64(Date().timeIntervalSince1970 * 1000)
            let sid = ChallengeSID.generate(variant: 3, nowMs: nowMs).rawValue
            var target = DispatchTarget()
            target.factorSid = FactorSID.generate(variant: 3, nowMs: nowMs).rawValue
            target.platform = provider == .apn ? .apn : .fcm
            target.pushToken = PushTokens.make(provider)
            target.appID = "org.example.app"
            target.credentialSid = provider == .apn ? sids.apn : sids.fcm
            target.registeredAtMs = nowMs - 1000
            var value = ChallengeRecord()
            value.dispatch.accountSid = sids.account
            value.dispatch.serviceSid = sids.service
            value.dispatch.challengeSid = sid
            value.dispatch.identity = "someone"
            value.dispatch.dispatchID = "c"
            value.dispatch.message = "Sign in?"
            value.dispatch.createdAtMs = nowMs
            value.dispatch.expiresAtMs = nowMs + lifeMs
            value.dispatch.redelivery.maxAttempts = attempts
            value.dispatch.targets = [target]
            let fact = Fed(provider: provider, atMs: nowMs, expiresAtMs: nowMs + lifeMs)
            fed.withLock { $0[sid] = fact }
            producer.enqueue(signer.record(.challenges, key: sid, value: value.protobufBytes())) { _ in }
        }
        _ = await producer.flush(deadline: .seconds(5))
        return count
    }

    /// Waits until all of these serve their partitions.
    func areReady(_ names: [String]) async throws {
        let end = ContinuousClock.now + .seconds(90)
        var since: ContinuousClock.Instant?
        // For longer than a heartbeat: a rebalance under way has not reached every member before.
        while since.map({ ContinuousClock.now - $0 < .milliseconds(700) }) ?? true {
            guard ContinuousClock.now < end else { throw StageError(description: "\(names) are not ready in 90 s") }
            var areAll = true
            for name in names {
                let admin = try await cluster[name]?.ready()["admin"] ?? ""
                let answer = try? await cluster.client.execute(
                    HTTPClientRequest(url: admin + "/readyz"), timeout: .seconds(60))
                if let answer { _ = try? await answer.body.collect(upTo: 1 << 16) }
                if answer?.status != .ok { areAll = false }
            }
            since = areAll ? since ?? .now : nil
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    static func nowMs() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    /// What the provider's log has behind a line; the log is bounded, so it is read as it grows.
    func pushes(after last: PushRecord?) async throws -> [PushRecord] {
        let after = last.map { "?after=\($0.sequence)" } ?? ""
        return try await request(.GET, "/pushes" + after).split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(PushRecord.self, from: Data($0))
        }
    }

    /// The provider's log until it has accepted a push of each challenge, and no more for 10 s: what repeats comes with
    /// a session's end and an election.
    func followPushes(_ count: Int) async throws -> [PushRecord] {
        var found: [PushRecord] = []
        var challenges: Set<String> = []
        let end = ContinuousClock.now + .seconds(count / DispatcherCampaignTests.perSecond + 60)
        var quietTurns = 0
        while quietTurns < 20, ContinuousClock.now < end {
            let fresh = try await pushes(after: found.last)
            found += fresh
            challenges.formUnion(fresh.map(\.challengeSID))
            quietTurns = fresh.isEmpty && challenges.count >= count ? quietTurns + 1 : 0
            try await Task.sleep(for: .milliseconds(500))
        }
        return found
    }

    /// Everything that was written, by challenge.
    var challenges: [String: Fed] { fed.withLock { $0 } }

    func outcomes() throws -> [PushOutcome] {
        try tail.records(of: cluster.names[.outcomes]).compactMap { record in
            let value = try OutcomeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            guard case .push(let outcome) = value.kind else { return nil }
            return outcome
        }
    }

    func repeats(in pushes: [PushRecord], _ disturbances: [Disturbance] = []) throws -> RepeatLedger {
        let lives = dispatchers.withLock { $0 }.flatMap { name in
            LaneLife.all(of: name, log: cluster[name]?.output ?? "", disturbances)
        }
        return try RepeatLedger(
            pushes: pushes, outcomes: tail.records(of: cluster.names[.outcomes]), lives: lives, partitions: 12)
    }

    /// Whether a dispatcher said that the provider or the machine gave it no answer in time. Only then may a push be
    /// left to the tracker, which these stages do without: the provider answers each within 40 ms.
    var isWithoutAnswers: Bool {
        let signs = [
            "] partitions lost", "] connection to the provider lost", "] a provider fails or is slow: fewer pushes",
            "] pushes without an answer at the end of the drain", "] a partition is left with work open",
        ]
        return dispatchers.withLock { $0 }.contains { name in
            let log = cluster[name]?.output ?? ""
            return signs.contains { log.contains($0) }
        }
    }

    /// When each challenge was pushed, or its outcome leaves it to the tracker.
    func settled(_ count: Int) async throws -> DeliveryAudit {
        let end = ContinuousClock.now + .seconds(90)
        while true {
            let audit = try DeliveryAudit(tail, cluster.names)
            let isWhole =
                audit.created.count == count && audit.withoutOutcome.isEmpty
                && audit.pushed.union(audit.leftToTracker).count == count
            if isWhole || ContinuousClock.now > end { return audit }
            try await Task.sleep(for: .milliseconds(250))
        }
    }

    /// From a record's writing to the headers of its first push.
    func longestWaitMs() throws -> Int64 {
        let fed = fed.withLock { $0 }
        var sent: [String: Int64] = [:]
        for record in tail.records(of: cluster.names[.outcomes]) {
            guard case .push(let outcome) = try OutcomeRecord(value: record.value, contentType: nil).kind,
                outcome.sentAtMs > 0
            else { continue }
            sent[outcome.challengeSid] = min(sent[outcome.challengeSid] ?? .max, outcome.sentAtMs)
        }
        return sent.map { $0.value - (fed[$0.key]?.atMs ?? $0.value) }.max() ?? 0
    }

    func counters(_ provider: SimulatedProvider = .apn) async throws -> PushCounters {
        let all = try JSONDecoder().decode([String: PushCounters].self, from: try await request(.GET, "/counters"))
        return all[provider.rawValue] ?? PushCounters()
    }

    private func request(_ method: HTTPMethod, _ path: String, body: String = "") async throws -> Data {
        try await cluster.ask(method, cluster.control + path, body: body)
    }
}
