import ChallengeModel
import Foundation
import KafkaClient
import Logging
import Metrics
import PushGateway
import PushProviders
import ServiceLifecycle
import ServiceSupport
import Synchronization
import TestSupport
import Testing

@testable import DispatcherWorker

/// A sender that does what the test says.
final class ScriptedSender: PushSending {
    enum Reply: Sendable {
        case answer(PushAnswer)
        /// Kept until ``release(_:)``.
        case hold
        /// Another has it.
        case pass(any PushSending)
    }

    private struct State {
        var script: @Sendable (Push) -> Reply
        var pushes: [Push] = []
        var held: [(Push, @Sendable (PushAnswer) -> Void)] = []
        var credentials: [String: ProviderCredential] = [:]
        var isFull = false
    }

    // The closure in a struct: a `Mutex` of a closure wraps it anew at each `withLock`, until the stack does not hold
    // them.
    private let state: Mutex<State>

    init(_ script: @escaping @Sendable (Push) -> Reply = { _ in .answer(ScriptedSender.accepted()) }) {
        state = Mutex(State(script: script))
    }

    static func accepted() -> PushAnswer {
        PushAnswer(disposition: .accepted, status: 200, sentAtMs: Moment.now().epochMs)
    }

    func set(_ script: @escaping @Sendable (Push) -> Reply) { state.withLock { $0.script = script } }

    func send(_ push: Push, completion: @escaping @Sendable (PushAnswer) -> Void) {
        state.withLock { $0.pushes.append(push) }
        switch state.withLock({ $0.script })(push) {
        case .answer(let answer): completion(answer)
        case .pass(let other): other.send(push, completion: completion)
        case .hold: state.withLock { $0.held.append((push, completion)) }
        }
    }

    func setCredential(_ credential: ProviderCredential) {
        state.withLock { $0.credentials[credential.credentialSid] = credential }
    }
    func removeCredential(sid: String) { state.withLock { $0.credentials[sid] = nil } }
    var inFlight: Int { state.withLock { $0.held.count } }
    var isFull: Bool { state.withLock { $0.isFull } }
    func setFull(_ isFull: Bool) { state.withLock { $0.isFull = isFull } }
    func close(deadline: Duration) async {}

    var pushes: [Push] { state.withLock { $0.pushes } }
    var credentials: [String: ProviderCredential] { state.withLock { $0.credentials } }

    /// Answers everything held.
    func release(_ answer: PushAnswer = ScriptedSender.accepted()) {
        let held = state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
        for (_, completion) in held { completion(answer) }
    }

    /// Pushes per (challenge, factor, dispatch, kind).
    var counts: [String: Int] { pushes.reduce(into: [:]) { $0[$1.unit, default: 0] += 1 } }
}

extension Push {
    var unit: String { "\(challengeSID) \(factorSID) \(dispatchID) \(kind)" }
}

extension PushOutcome {
    var unit: String { "\(challengeSid) \(factorSid) \(dispatchID) \(kind)" }
}

/// A broker with the topics, a producer that writes what the other roles write, and a view of what came out.
final class Rig: Sendable {
    let broker: TestBroker
    let names: TopicNames
    let kafka: KafkaConfiguration
    let signer: RecordSigner
    let producer: KafkaProducer
    let tail: TopicTail
    let partitions: Int
    let configurationKeys = KeyRing.random(id: "c1")
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let counters = CountedMetrics()

    private init(partitions: Int) async throws {
        names = TopicNames(prefix: TestBroker.prefix())
        self.partitions = partitions
        var topics: [String: Int] = [:]
        for topic in Topic.copartitioned { topics[names[topic]] = partitions }
        topics[names[.configuration]] = 1
        topics[names[.deadLetters]] = 1
        broker = try await TestBroker(topics: topics)
        kafka = broker.kafka
        signer = RecordSigner(names: names, authenticator: RecordAuthenticator(keys: Samples.keys))
        producer = try KafkaProducer(configuration: kafka, logger: logger)
        tail = try TopicTail(kafka: kafka, topics: [names[.outcomes], names[.deadLetters]], logger: logger)
    }

    static func with(partitions: Int = 1, _ body: @Sendable (Rig) async throws -> Void) async throws {
        let rig = try await Rig(partitions: partitions)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await rig.tail.run() }
            defer { group.cancelAll() }
            try await body(rig)
        }
        await rig.producer.close(deadline: .seconds(1))
        await rig.broker.close()
    }

    func configuration(_ change: (inout DispatcherConfiguration) -> Void = { _ in }) -> DispatcherConfiguration {
        var configuration = DispatcherConfiguration(
            kafka: kafka, topics: names, recordKeys: Samples.keys, configurationKeys: configurationKeys)
        change(&configuration)
        return configuration
    }

    func service(
        _ sender: ScriptedSender, _ change: (inout DispatcherConfiguration) -> Void = { _ in }
    ) throws -> RunningService {
        try RunningService(
            configuration: configuration(change), sender: sender, logger: logger, metrics: counters)
    }

    // MARK: - Writing

    func write(_ dispatches: [ChallengeDispatch]) async throws {
        try await write(dispatches.map { signer.record(.challenges, key: $0.challengeSid, value: Samples.value($0)) })
    }

    func write(_ records: [ProducerRecord]) async throws {
        let left = Mutex(records.count)
        let failed = Mutex<KafkaError?>(nil)
        for record in records {
            producer.enqueue(record) { result in
                if case .failure(let error) = result { failed.withLock { $0 = error } }
                left.withLock { $0 -= 1 }
            }
        }
        try await eventually("the records are written") { left.withLock { $0 } == 0 }
        if let error = failed.withLock({ $0 }) { throw error }
    }

    func write(_ receipt: Receipt) async throws {
        try await write([signer.record(.receipts, key: receipt.challengeSid, value: receipt.protobufBytes())])
    }

    func write(_ resolution: Resolution) async throws {
        try await write([signer.record(.resolutions, key: resolution.challengeSid, value: resolution.protobufBytes())])
    }

    // MARK: - Reading

    var outcomes: [PushOutcome] {
        tail.records(of: names[.outcomes]).compactMap { record in
            let value = try? OutcomeRecord(value: record.value, contentType: ContentType.protobuf.rawValue)
            guard case .push(let outcome) = value?.kind else { return nil }
            return outcome
        }
    }

    func outcomes(of number: Int) -> [PushOutcome] { outcomes.filter { $0.challengeSid == Samples.challenge(number) } }

    var deadLetters: [ConsumedRecord] { tail.records(of: names[.deadLetters]) }

    /// What the group has committed of `challenges[0]`, as another client sees it.
    func committed(partition: Int32 = 0) async throws -> CommittedOffset? {
        let challenges = TopicPartition(topic: names[.challenges], partition: partition)
        return try await bystander { try await $0.committed([challenges], deadline: .seconds(60))[challenges] ?? nil }
    }

    /// Commits `challenges[0]` for the group, before it has a member.
    func commit(_ offset: CommittedOffset) async throws {
        let challenges = TopicPartition(topic: names[.challenges], partition: 0)
        try await bystander { try await $0.commit([challenges: offset], deadline: .seconds(60)) }
    }

    /// No member of the group, so that looking moves nothing.
    private func bystander<T: Sendable>(_ body: (KafkaConsumer) async throws -> T) async throws -> T {
        var kafka = kafka
        kafka.properties["group.id"] = names.prefix + "dispatcher"
        let consumer = try KafkaConsumer(configuration: kafka, following: [names[.configuration]], logger: logger)
        defer { Task { await consumer.close(deadline: .seconds(1)) } }
        return try await body(consumer)
    }
}

/// A dispatcher that runs, and how it ends.
final class RunningService: Sendable {
    let service: DispatcherService
    let readiness = Readiness()
    private let group: ServiceGroup
    private let task: Task<Void, any Error>

    init(
        configuration: DispatcherConfiguration, sender: ScriptedSender, logger: Logger, metrics: any MetricsFactory
    ) throws {
        service = try DispatcherService(
            configuration: configuration, sender: sender, readiness: readiness, logger: logger, metrics: metrics)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: service, successTerminationBehavior: .gracefullyShutdownGroup)],
                logger: logger))
        self.group = group
        task = Task { try await group.run() }
    }

    func ready() async throws {
        try await eventually("the dispatcher is ready", within: .seconds(60)) { self.readiness.isReady }
    }

    /// SIGTERM.
    func stop() async throws {
        await group.triggerGracefulShutdown()
        try await task.value
    }

    /// As near to `kill -9` as one process allows: nothing is waited for, recorded or committed.
    func crash() async {
        task.cancel()
        _ = try? await task.value
    }

    func ended() async throws { try await task.value }
}

func eventually(
    _ what: String, within bound: Duration = .seconds(180), _ condition: () async throws -> Bool
) async throws {
    let until = ContinuousClock.now + bound
    while try await !condition() {
        guard ContinuousClock.now < until else { throw TimedOut(description: "not within \(bound): \(what)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}

struct TimedOut: Error, CustomStringConvertible { let description: String }

/// Counts; for tests of what an SRE sees.
final class CountedMetrics: MetricsFactory {
    private let counts = Mutex<[String: Int64]>([:])
    private let gauges = Mutex<[String: Double]>([:])

    /// `label|value|value`
    func count(_ key: String) -> Int64 { counts.withLock { $0[key] ?? 0 } }
    func gauge(_ key: String) -> Double? { gauges.withLock { $0[key] } }

    private func key(_ label: String, _ dimensions: [(String, String)]) -> String {
        dimensions.reduce(into: label) { $0 += "|" + $1.1 }
    }

    private final class Handler: CounterHandler, RecorderHandler, TimerHandler, MeterHandler {
        let add: @Sendable (Int64) -> Void
        let put: @Sendable (Double) -> Void
        init(add: @escaping @Sendable (Int64) -> Void, put: @escaping @Sendable (Double) -> Void) {
            self.add = add
            self.put = put
        }
        func increment(by amount: Int64) { add(amount) }
        func reset() {}
        func record(_ value: Int64) { put(Double(value)) }
        func record(_ value: Double) { put(value) }
        func recordNanoseconds(_ duration: Int64) {}
        func set(_ value: Int64) { put(Double(value)) }
        func set(_ value: Double) { put(value) }
        func increment(by amount: Double) {}
        func decrement(by amount: Double) {}
    }

    private func handler(_ label: String, _ dimensions: [(String, String)]) -> Handler {
        let key = key(label, dimensions)
        return Handler(
            add: { [weak self] amount in self?.counts.withLock { $0[key, default: 0] += amount } },
            put: { [weak self] value in self?.gauges.withLock { $0[key] = value } })
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        handler(label, dimensions)
    }
    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler { handler(label, dimensions) }
    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        handler(label, dimensions)
    }
    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { handler(label, dimensions) }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyMeter(_ handler: any MeterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}
