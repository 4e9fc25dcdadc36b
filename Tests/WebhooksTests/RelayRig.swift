import ChallengeModel
import Challenges
import CoreMetrics
import Foundation
import GuardedHTTP
import KafkaClient
import Logging
import ServiceSupport
import Simulators
import Storage
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Webhooks

/// A broker with topic `events`, a store with an account and a service, and receivers over TLS.
final class RelayRig: Sendable {
    let broker: TestBroker
    let topics: TopicNames
    let store: ChallengeStore
    let keys: KeyRing
    let account: AccountSID
    let authToken: String
    let service: ServiceSID
    let certificates: SimulatedCertificates
    let caFile: String
    private let folder: URL
    fileprivate let producer: KafkaProducer
    fileprivate let signer: RecordSigner
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let sequence = Mutex<UInt64>(0)

    static func with(partitions: Int = 3, _ body: (RelayRig) async throws -> Void) async throws {
        let rig = try await RelayRig(partitions: partitions)
        let result: Swift.Result<Void, any Error>
        do { result = .success(try await body(rig)) } catch { result = .failure(error) }
        await rig.producer.close(deadline: .seconds(2))
        await rig.store.close()
        await rig.broker.close()
        try? FileManager.default.removeItem(at: rig.folder)
        try result.get()
    }

    private init(partitions: Int) async throws {
        topics = TopicNames(prefix: TestBroker.prefix())
        broker = try await TestBroker(topics: [topics[.events]: partitions, topics[.deadLetters]: 1])
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        keys = KeyRing.random()
        store = try ChallengeStore.sqlite(
            path: folder.appending(path: "store.sqlite").path,
            keys: StoreKeys(store: .random(), configuration: .random()), logger: logger)
        let made = try await store.createAccount(nowMs: Timestamp.nowMs())
        (account, authToken) = (made.sid, made.authToken)
        service = try await store.createService(
            NewService(account: made.sid, friendlyName: "shop"), nowMs: Timestamp.nowMs()
        ).sid
        certificates = try SimulatedCertificates(hosts: ["localhost", "127.0.0.1", "::1", "row66.example.com"])
        caFile = folder.appending(path: "ca.pem").path
        try certificates.writePEM(to: caFile)
        producer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        signer = RecordSigner(names: topics, authenticator: RecordAuthenticator(keys: keys))
    }

    func webhook(
        _ port: Int, path: String = "/hook", types: [String] = ["*"], fragment: String = "",
        format: WebhookFormat = .form
    ) async throws -> Webhook {
        var new = NewWebhook(
            account: account, service: service, friendlyName: "hook", eventTypes: types,
            url: "https://127.0.0.1:\(port)\(path)\(fragment.isEmpty ? "" : "#" + fragment)")
        new.format = format
        return try await store.createWebhook(new, nowMs: Timestamp.nowMs())
    }

    func configuration() -> WebhookConfiguration {
        var configuration = WebhookConfiguration(kafka: broker.kafka, topics: topics, recordKeys: keys)
        configuration.rules = OutboundRules(parsing: "127.0.0.0/8") ?? OutboundRules()
        configuration.caFile = caFile
        configuration.subscriptionsKept = .milliseconds(200)
        configuration.commitEvery = .milliseconds(200)
        return configuration
    }

    /// Runs a relay while `body` runs.
    func relaying(
        adjust: (inout WebhookConfiguration) -> Void = { _ in }, _ body: () async throws -> Void
    ) async throws {
        let readiness = Readiness()
        var configuration = configuration()
        adjust(&configuration)
        let relay = try WebhookRelayService(
            configuration: configuration, store: store, readiness: readiness, logger: logger,
            metrics: NOOPMetricsHandler.instance)
        let running = Task { try await relay.run() }
        let result: Swift.Result<Void, any Error>
        do {
            try await eventually("the relay is ready") { readiness.isReady }
            result = .success(try await body())
        } catch { result = .failure(error) }
        running.cancel()
        _ = await running.result
        try result.get()
    }

    /// Writes an event of a challenge.
    /// - Returns: its id.
    @discardableResult
    func emit(
        _ type: EventType, _ subject: String, number: Int? = nil, account owner: AccountSID? = nil,
        service other: ServiceSID? = nil,
        with more: [RecordHeader] = []
    ) async throws -> String {
        let (account, service) = (owner ?? account, other ?? service)
        let next = sequence.withLock { sequence in
            sequence += 1
            return sequence
        }
        let id = "\(subject)/\(type.rawValue)" + (number.map { "/\($0)" } ?? "")
        let event = CloudEvent(
            id: id, type: type, account: account.rawValue, service: service.rawValue, subject: subject,
            timeMs: Timestamp.nowMs(), sequence: next, writer: .producer,
            data: [
                "account_sid": .string(account.rawValue), "service_sid": .string(service.rawValue),
                "challenge_sid": .string(subject), "entity_identity": "ada",
            ])
        var record = signer.record(.events, key: subject, value: event.jsonBytes(), contentType: .cloudEvent)
        record.headers += more
        _ = try await producer.send(record)
        return id
    }

    static func challenge() -> String { ChallengeSID.generate(nowMs: Timestamp.nowMs()).rawValue }
}

/// A receiver that keeps what it gets and answers as it is told.
final class Inbox: Sendable {
    struct Message: Sendable {
        let id: String
        let event: String
        let type: String
        let request: ReceivedRequest
    }

    private let kept = Mutex<[Message]>([])
    private let answer: Mutex<@Sendable (Message, Int) -> ReceiverAnswer>
    private let receiver = Mutex<SimulatedReceiver?>(nil)
    let port: Int

    /// - Parameter answer: gets the message and how many came before it; nil: 204.
    init(
        _ rig: RelayRig, answer: @escaping @Sendable (Message, Int) -> ReceiverAnswer = { _, _ in .status(204) }
    ) async throws {
        self.answer = Mutex(answer)
        let hold = Holder()
        let receiver = SimulatedReceiver(certificates: rig.certificates) { request in
            hold.inbox?.take(request) ?? .status(500)
        }
        port = try await receiver.start()
        self.receiver.withLock { $0 = receiver }
        hold.set(self)
    }

    func answers(_ answer: @escaping @Sendable (Message, Int) -> ReceiverAnswer) {
        self.answer.withLock { $0 = answer }
    }

    private func take(_ request: ReceivedRequest) -> ReceiverAnswer {
        let form = try? Form(request.body)
        let event: String
        let type: String
        if let id = form?["event_id"] {
            (event, type) = (id, form?["type"] ?? "")
        } else {
            let parsed = try? CloudEvent(json: request.body)
            (event, type) = (parsed?.id ?? request.header("ce-id") ?? "", parsed?.type ?? "")
        }
        let message = Message(id: request.header("webhook-id") ?? "", event: event, type: type, request: request)
        let count = kept.withLock { kept in
            kept.append(message)
            return kept.count - 1
        }
        return answer.withLock { $0 }(message, count)
    }

    var messages: [Message] { kept.withLock { $0 } }
    var events: [String] { messages.map(\.event) }
    func goDown() async { await receiver.withLock { $0 }?.goDown() }
    func goUp() async throws { try await receiver.withLock { $0 }?.start(port: port) }
    func stop() async { await receiver.withLock { $0 }?.stop() }

    private final class Holder: Sendable {
        private let value = Mutex<Inbox?>(nil)
        var inbox: Inbox? { value.withLock { $0 } }
        func set(_ inbox: Inbox) { value.withLock { $0 = inbox } }
    }
}

/// Waits for a condition; the suite's time limit ends it.
func eventually(_ what: Comment, _ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record(what)
    throw CancellationError()
}

extension RelayRig {
    /// Sends a row of the outbox as the Producer's relay does.
    func send(_ row: OutboxRow) async throws {
        _ = try await producer.send(
            signer.record(row.topic, key: row.key, value: row.value, contentType: row.contentType))
    }

    /// An event that somebody without the record keys has written.
    func emitForged(_ type: EventType, _ subject: String) async throws {
        let event = CloudEvent(
            id: "\(subject)/\(type.rawValue)", type: type, account: account.rawValue, service: service.rawValue,
            subject: subject, timeMs: 1, sequence: 1, writer: .producer,
            data: ["account_sid": .string(account.rawValue), "service_sid": .string(service.rawValue)])
        let stranger = RecordSigner(names: topics, authenticator: RecordAuthenticator(keys: .random()))
        _ = try await producer.send(
            stranger.record(.events, key: subject, value: event.jsonBytes(), contentType: .cloudEvent))
    }
}
