import AsyncHTTPClient
import ChallengeModel
import Challenges
import CoreMetrics
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import ServiceLifecycle
import ServiceSupport
import Storage
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Producer

/// The Producer on a real socket, over a real SQLite file and a broker, with a clock that tests move.
final class ProducerHarness: Sendable {
    let broker: TestBroker
    let kafka: KafkaConfiguration
    let names: TopicNames
    let store: ChallengeStore
    let keys: KeyRing
    let account: AccountCredentials
    let readiness: Readiness
    let metrics: MetricCounts
    let clock: TestClock
    let base: String
    /// Of the address for devices.
    let deviceBase: String?
    let storePath: String
    let storeKeys: StoreKeys
    let service: ProducerService

    var backend: Authorization { .basic(account.sid.rawValue, account.authToken) }

    private init(
        broker: TestBroker, kafka: KafkaConfiguration, names: TopicNames, store: ChallengeStore, keys: KeyRing,
        account: AccountCredentials, readiness: Readiness, metrics: MetricCounts, clock: TestClock, base: String,
        deviceBase: String?,
        storePath: String, storeKeys: StoreKeys, service: ProducerService
    ) {
        self.broker = broker
        self.kafka = kafka
        self.names = names
        self.store = store
        self.keys = keys
        self.account = account
        self.readiness = readiness
        self.metrics = metrics
        self.clock = clock
        self.base = base
        self.deviceBase = deviceBase
        self.storePath = storePath
        self.storeKeys = storeKeys
        self.service = service
    }

    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Runs a Producer beside `body`, and shuts it down gracefully afterwards.
    /// - Parameters:
    ///   - entrances: binds the entrance topics to the test's account.
    ///   - limits: `.none` where one identity is asked often.
    ///   - ownBroker: for tests that break it, or want other partitions than four; else one stand-in serves all tests,
    ///     with a prefix for each. The stand-in takes up to a second to make a topic.
    ///   - entitiesPerSecond: the clock of a test stands still: as many as it likes.
    static func run(
        entrances: Bool = false, ownBroker partitions: [Topic: Int]? = nil, limits: ChallengeLimits = .init(),
        entitiesPerSecond: Int = 100_000, logger: Logger = ProducerHarness.logger,
        adjust: @Sendable (inout ProducerConfiguration) -> Void = { _ in },
        _ body: @Sendable @escaping (ProducerHarness) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let names = TopicNames(prefix: TestBroker.prefix())
        let broker = try await SharedBroker.broker(names, own: partitions)
        let kafka = SharedBroker.configuration(broker)
        let clock = TestClock()
        let storePath = folder.appending(path: "store.sqlite").path
        let storeKeys = StoreKeys(store: .random(), configuration: .random())
        let store = try ChallengeStore.sqlite(
            path: storePath, keys: storeKeys, limits: limits, entityCreationsPerSecond: entitiesPerSecond,
            isServing: true, logger: logger)
        let account = try await store.createAccount(nowMs: clock.nowMs)
        let keys = KeyRing.random()
        var configuration = ProducerConfiguration(
            kafka: kafka, topics: names, recordKeys: keys, entranceAccount: entrances ? account.sid : nil)
        configuration.port = 0
        configuration.entranceCommitInterval = .milliseconds(100)
        configuration.kafkaRetry = .milliseconds(200)
        configuration.outboxSampling = .milliseconds(20)
        adjust(&configuration)
        let readiness = Readiness()
        let metrics = MetricCounts()
        let service = ProducerService(
            configuration: configuration, store: store, readiness: readiness, logger: logger, metrics: metrics,
            clock: { clock.nowMs })
        let group = ServiceGroup(configuration: .init(services: [service], logger: logger))
        let scheme = configuration.tls == nil ? "http" : "https"
        do {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                let port = try #require(await service.boundPort)
                let devicePort = await service.boundDevicePort
                let deviceScheme = configuration.deviceAPI?.tls == nil ? "http" : "https"
                let harness = ProducerHarness(
                    broker: broker, kafka: kafka, names: names, store: store, keys: keys, account: account,
                    readiness: readiness, metrics: metrics, clock: clock, base: "\(scheme)://localhost:\(port)",
                    deviceBase: devicePort.map { "\(deviceScheme)://localhost:\($0)" }, storePath: storePath,
                    storeKeys: storeKeys, service: service)
                do {
                    try await body(harness)
                } catch {
                    await group.triggerGracefulShutdown()
                    throw error
                }
                await group.triggerGracefulShutdown()
                try await tasks.waitForAll()
            }
        } catch {
            await store.close()
            if partitions != nil || TestBroker.cluster != nil { await broker.close() }
            throw error
        }
        await store.close()
        if partitions != nil || TestBroker.cluster != nil { await broker.close() }
    }

    // MARK: - Requests

    func send(
        _ method: String, _ path: String, body: String? = nil, as authorization: Authorization? = nil,
        headers: [(String, String)] = [], client: HTTPClient = .shared, bytes: [UInt8]? = nil
    ) async throws -> HTTPAnswer {
        var request = HTTPClientRequest(url: path.hasPrefix("http") ? path : base + path)
        request.method = HTTPMethod(rawValue: method)
        if let authorization { request.headers.add(name: "Authorization", value: authorization.header) }
        if let body {
            request.body = .bytes(Array(body.utf8))
            if !headers.contains(where: { $0.0 == "Content-Type" }) {
                request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
            }
        }
        if let bytes { request.body = .bytes(bytes) }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        let response = try await client.execute(request, timeout: .seconds(60))
        let collected = try await response.body.collect(upTo: 4 << 20)
        return HTTPAnswer(
            status: Int(response.status.code), headers: response.headers, bytes: Array(collected.readableBytesView))
    }

    func post(
        _ path: String, _ form: [(String, String)] = [], as authorization: Authorization? = nil,
        headers: [(String, String)] = []
    ) async throws -> HTTPAnswer {
        let body = form.map { "\(Percent.encode($0.0))=\(Percent.encode($0.1))" }.joined(separator: "&")
        return try await send("POST", path, body: body, as: authorization, headers: headers)
    }

    func get(_ path: String, as authorization: Authorization? = nil) async throws -> HTTPAnswer {
        // As the SDKs and helper libraries do.
        try await send(
            "GET", path, as: authorization,
            headers: [
                ("Accept", "application/x-www-form-urlencoded"), ("Content-Type", "application/x-www-form-urlencoded"),
            ])
    }

    func delete(_ path: String, as authorization: Authorization? = nil) async throws -> HTTPAnswer {
        try await send("DELETE", path, as: authorization)
    }

    // MARK: - Scenes

    /// A new service; its path.
    func makeService() async throws -> String {
        let answer = try await post("/v2/Services", [("FriendlyName", "Bank")], as: backend)
        #expect(answer.status == 201)
        return "/v2/Services/\(try answer.text("sid"))"
    }

    /// An enrolled and verified device.
    func enroll(_ identity: String, service: String, isVerified: Bool = true) async throws -> TestDevice {
        let token = try await post(
            "\(service)/AccessTokens", [("Identity", identity), ("FactorType", "push")], as: backend)
        #expect(token.status == 201)
        let device = TestDevice()
        let answer = try await post(
            "\(service)/Entities/\(identity)/Factors", device.enrolment, as: .basic("token", token.text("token")))
        #expect(answer.status == 201, "\(answer.text)")
        let enrolled = try device.enrolled(answer)
        if isVerified {
            let verified = try await post(
                enrolled.factorPath, [("AuthPayload", try enrolled.proof())], as: enrolled.token(nowMs: clock.nowMs))
            #expect(verified.status == 200, "\(verified.text)")
        }
        return enrolled
    }

    func createChallenge(
        _ service: String, _ identity: String, _ form: [(String, String)] = []
    ) async throws -> HTTPAnswer {
        try await post(
            "\(service)/Entities/\(identity)/Challenges", [("Details.Message", "Log in?")] + form, as: backend)
    }
}

/// One stand-in broker for the whole test process; on a real cluster topics for each test.
enum SharedBroker {
    private static let standIn = Task { try await TestBroker(topics: [:]) }

    static func broker(_ names: TopicNames, own partitions: [Topic: Int]?) async throws -> TestBroker {
        if partitions == nil, TestBroker.cluster == nil { return try await standIn.value }
        let other = partitions == nil ? 4 : 3
        return try await TestBroker(
            topics: Dictionary(uniqueKeysWithValues: Topic.allCases.map { (names[$0], partitions?[$0] ?? other) }))
    }

    /// A topic of four partitions; on the stand-in it comes into being when it is asked for.
    static func broker(topic: String) async throws -> TestBroker {
        TestBroker.cluster == nil ? try await standIn.value : try await TestBroker(topics: [topic: 4])
    }

    /// On the stand-in topics come into being when they are asked for, with four partitions. A broker goes before its
    /// clients have closed: librdkafka need not say so.
    static func configuration(_ broker: TestBroker) -> KafkaConfiguration {
        var kafka = broker.kafka
        kafka.properties["log_level"] = "0"
        if kafka.isEmbedded { kafka.properties["allow.auto.create.topics"] = "true" }
        return kafka
    }
}

/// `Authorization`.
struct Authorization: Sendable {
    let header: String

    static func basic(_ user: String, _ password: String) -> Authorization {
        Authorization(header: "Basic " + Data("\(user):\(password)".utf8).base64EncodedString())
    }
}

/// What came back.
struct HTTPAnswer: Sendable {
    let status: Int
    let headers: HTTPHeaders
    let bytes: [UInt8]

    var text: String { String(decoding: bytes, as: UTF8.self) }

    func json() throws -> JSONValue { try JSONParser.parse(bytes) }

    func header(_ name: String) -> String? { headers.first(name: name) }

    /// A string member.
    func text(_ name: String) throws -> String { try #require(try json()[name]?.stringValue, "\(name) in \(text)") }

    func code() throws -> Int { Int(try #require(try json()["code"]?.integerValue, "\(text)")) }

    func items(_ key: String) throws -> [JSONValue] {
        guard case .array(let items) = try json()[key] else {
            Issue.record("no \(key) in \(text)")
            return []
        }
        return items
    }
}

final class TestClock: Sendable {
    private let ms = Mutex(Timestamp.nowMs())

    var nowMs: Int64 { ms.withLock { $0 } }

    func advance(_ duration: Duration) { ms.withLock { $0 += duration.components.seconds * 1000 } }
}

/// Waits for a condition, with a deadline in place of a sleep.
func becomesTrue(
    within deadline: Duration = .seconds(240), _ what: String, _ condition: @Sendable () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + deadline
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("did not come true within \(deadline): \(what)")
}

/// Counts what counters count, by label and dimensions.
final class MetricCounts: MetricsFactory, Sendable {
    private let counts = Mutex<[String: Int64]>([:])
    private let gauges = Mutex<[String: Double]>([:])

    func count(_ name: ProducerMetricName, _ dimensions: [(String, String)]) -> Int64 {
        count(name.rawValue, dimensions)
    }

    func count(_ label: String, _ dimensions: [(String, String)]) -> Int64 {
        counts.withLock { $0[Self.key(label, dimensions)] ?? 0 }
    }

    /// The last value of a gauge without dimensions.
    func gauge(_ name: ProducerMetricName) -> Double { measured(name, []) ?? 0 }

    /// The last value of a gauge; nil: none yet.
    func measured(_ name: ProducerMetricName, _ dimensions: [(String, String)]) -> Double? {
        measured(name.rawValue, dimensions)
    }

    func measured(_ label: String, _ dimensions: [(String, String)]) -> Double? {
        gauges.withLock { $0[Self.key(label, dimensions)] }
    }

    private static func key(_ label: String, _ dimensions: [(String, String)]) -> String {
        label + dimensions.sorted { $0.0 < $1.0 }.map { ",\($0.0)=\($0.1)" }.joined()
    }

    private final class Handler: CounterHandler {
        let add: @Sendable (Int64) -> Void
        init(add: @escaping @Sendable (Int64) -> Void) { self.add = add }
        func increment(by amount: Int64) { add(amount) }
        func reset() {}
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        let key = Self.key(label, dimensions)
        return Handler { [self] amount in counts.withLock { $0[key, default: 0] += amount } }
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard !aggregate else { return NOOPMetricsHandler.instance }
        let key = Self.key(label, dimensions)
        return Recording { [self] value in gauges.withLock { $0[key] = value } }
    }

    private final class Recording: RecorderHandler {
        let set: @Sendable (Double) -> Void
        init(set: @escaping @Sendable (Double) -> Void) { self.set = set }
        func record(_ value: Int64) { set(Double(value)) }
        func record(_ value: Double) { set(value) }
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { NOOPMetricsHandler.instance }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}
