import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import Logging
import Metrics
import Producer
import ServiceSupport
import Storage
import Synchronization
import TestSupport
import Testing
import Wire

/// A broker, a store in a folder of its own, and relays between them.
struct OutboxWorld: Sendable {
    let broker: TestBroker
    let kafka: KafkaConfiguration
    let producer: KafkaProducer
    let store: ChallengeStore
    let names: TopicNames
    let signer: RecordSigner
    let account: AccountSID
    let service: ServiceSID
    let readiness = Readiness()
    let metrics = CountingMetrics()
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// - Parameter properties: of librdkafka, for a producer that gives up soon.
    static func with(
        topics: Set<Topic> = [.challenges, .events, .receipts, .resolutions, .configuration, .deadLetters],
        properties: [String: String] = [:], _ body: @Sendable (OutboxWorld) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-outbox-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let names = TopicNames(prefix: TestBroker.prefix())
        let broker = try await TestBroker(topics: Dictionary(uniqueKeysWithValues: topics.map { (names[$0], 4) }))
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let kafka = broker.kafka
        var writing = kafka
        writing.properties = properties
        let producer = try KafkaProducer(configuration: writing, logger: logger)
        _ = try await producer.partitionCounts(of: topics.map { names[$0] }, deadline: .seconds(60))
        let store = try ChallengeStore.sqlite(
            path: folder.appending(path: "store.db").path,
            keys: StoreKeys(store: .random(), configuration: .random()), limits: .none, logger: logger)
        let nowMs = Timestamp.nowMs()
        let account = try await store.createAccount(nowMs: nowMs).sid
        let service = try await store.createService(NewService(account: account, friendlyName: "s"), nowMs: nowMs).sid
        let factor = try await store.createFactor(
            NewFactor(
                account: account, service: service, identity: "person-0001", friendlyName: "p", publicKey: [1],
                platform: .fcm, pushToken: "token", appID: "app"), accessToken: nil, nowMs: nowMs)
        _ = try await store.verifyFactor(factor.sid, nowMs: nowMs)
        let rows = try await store.outbox.claimOutbox(owner: "setup", limit: 100, leaseMs: 1000, nowMs: nowMs)
        try await store.outbox.deleteOutbox(rows.map(\.id), owner: "setup")
        let world = OutboxWorld(
            broker: broker, kafka: kafka, producer: producer, store: store, names: names,
            signer: RecordSigner(names: names, authenticator: RecordAuthenticator(keys: .random())), account: account,
            service: service)
        let result = await Result { try await body(world) }
        await producer.close(deadline: .seconds(2))
        await store.close()
        await broker.close()
        try result.get()
    }

    func relay(
        _ change: (inout OutboxRelay.Options) -> Void = { _ in },
        nowMs: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }
    ) -> OutboxRelay {
        var options = OutboxRelay.Options()
        change(&options)
        return OutboxRelay(
            store: store.outbox, producer: producer, signer: signer, readiness: readiness, logger: logger,
            metrics: metrics,
            options: options, nowMs: nowMs)
    }

    /// Runs a relay beside `body`, and stops it afterwards.
    func relaying<Value: Sendable>(
        _ change: (inout OutboxRelay.Options) -> Void = { _ in },
        nowMs: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }, _ body: @Sendable () async throws -> Value
    ) async throws -> Value {
        let relay = relay(change, nowMs: nowMs)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await relay.run() }
            let value = try await body()
            group.cancelAll()
            try await group.waitForAll()
            return value
        }
    }

    @discardableResult
    func challenge(lifeMs: Int64 = 300_000) async throws -> ChallengeSID {
        let nowMs = Timestamp.nowMs()
        let new = NewChallenge(
            account: account, service: service, identity: "person-0001", factor: nil, message: "?",
            expiresAtMs: nowMs + lifeMs)
        return try await store.createChallenge(new, nowMs: nowMs).0.sid
    }

    /// An event of `subject` whose id is its number.
    func event(_ subject: String, _ number: Int, padding: Int = 0) async throws {
        _ = try await store.rejectRequest(
            subject, account: account, service: UUID().uuidString, eventID: String(number),
            data: ["padding": .string(String(repeating: "x", count: padding))], nowMs: Timestamp.nowMs())
    }

    func rows() async throws -> Int { try await store.outbox.outboxState().rows }
}

extension Result where Failure == any Error {
    init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}

/// Waits until a condition holds. - Throws: after the deadline, with what was waited for.
func eventually(
    _ what: String, within deadline: Duration = .seconds(60), _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + deadline
    while try await !condition() {
        guard ContinuousClock.now < end else { throw Overdue(what: what) }
        try await Task.sleep(for: .milliseconds(5))
    }
}

struct Overdue: Error { let what: String }

/// Counters by label; the rest is dropped.
final class CountingMetrics: MetricsFactory {
    private let counts = Mutex<[String: Int64]>([:])

    func count(_ label: String) -> Int64 { counts.withLock { $0[label] ?? 0 } }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        Handler(label: label, metrics: self)
    }
    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        NOOPMetricsHandler.instance
    }
    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { NOOPMetricsHandler.instance }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}

    private final class Handler: CounterHandler {
        let label: String
        let metrics: CountingMetrics
        init(label: String, metrics: CountingMetrics) {
            self.label = label
            self.metrics = metrics
        }
        func increment(by amount: Int64) { metrics.counts.withLock { $0[label, default: 0] += amount } }
        func reset() {}
    }
}
