import AckTracker
import ChallengeModel
import CoreMetrics
import Foundation
import KafkaClient
import Logging
import ServiceSupport
import TestSupport
import Testing
import Wire

/// A broker with the topics of one prefix, everything the neighbours of the tracker write, and what it wrote.
struct TrackerRig: Sendable {
    let broker: TestBroker
    let kafka: KafkaConfiguration
    let topics: TopicNames
    let keys = KeyRing.random()
    let signer: RecordSigner
    let producer: KafkaProducer
    let tail: TopicTail
    let logger: Logger
    let partitions: Int
    let metrics = NOOPMetricsHandler.instance

    static let account = AccountSID.generate(nowMs: 1).rawValue
    static let service = ServiceSID.generate(nowMs: 1).rawValue

    /// Runs `body` with a rig and takes it down afterwards.
    static func with(
        partitions: Int = 3, uneven: Bool = false, _ body: @Sendable (TrackerRig) async throws -> Void
    ) async throws {
        let topics = TopicNames(prefix: TestBroker.prefix())
        var counts: [String: Int] = [:]
        for topic in Topic.copartitioned { counts[topics[topic]] = partitions }
        if uneven { counts[topics[.receipts]] = partitions + 1 }
        counts[topics[.events]] = partitions >= 12 ? partitions : 1
        counts[topics[.deadLetters]] = 1
        let rig = try TrackerRig(broker: try await TestBroker(topics: counts), topics: topics, partitions: partitions)
        let tailing = Task { try await rig.tail.run() }
        let result: Result<Void, any Error>
        do { result = .success(try await body(rig)) } catch { result = .failure(error) }
        tailing.cancel()
        _ = await tailing.result
        await rig.producer.close(deadline: .seconds(2))
        await rig.broker.close()
        try result.get()
    }

    private init(broker: TestBroker, topics: TopicNames, partitions: Int) throws {
        logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        self.partitions = partitions
        self.broker = broker
        self.topics = topics
        kafka = broker.kafka
        signer = RecordSigner(names: topics, authenticator: RecordAuthenticator(keys: keys))
        producer = try KafkaProducer(configuration: kafka, logger: logger)
        let names = topics
        tail = try TopicTail(
            kafka: kafka,
            topics: [.challenges, .outcomes, .events, .deadLetters, .receipts].map { (topic: Topic) in names[topic] },
            logger: logger)
    }

    // MARK: The tracker

    func configuration(edit: (inout TrackerConfiguration) -> Void = { _ in }) -> TrackerConfiguration {
        var configuration = TrackerConfiguration(kafka: kafka, topics: topics, recordKeys: keys)
        configuration.policy.restartSpreadMs = 300
        configuration.policy.usefulMs = 200
        configuration.checkpointLead = .milliseconds(200)
        edit(&configuration)
        return configuration
    }

    /// Runs a tracker beside `body`, then cancels it and waits for its end.
    func tracking<Value: Sendable>(
        _ configuration: TrackerConfiguration? = nil, _ body: @Sendable (Readiness) async throws -> Value
    ) async throws -> Value {
        let readiness = Readiness()
        let tracker = TrackerService(
            configuration: configuration ?? self.configuration(), readiness: readiness, logger: logger,
            metrics: NOOPMetricsHandler.instance)
        let running = Task { try await tracker.run() }
        let result: Result<Value, any Error>
        do { result = .success(try await body(readiness)) } catch { result = .failure(error) }
        running.cancel()
        try await running.value
        return try result.get()
    }

    /// Waits until the tracker is ready.
    func ready(_ readiness: Readiness, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let end = ContinuousClock.now + .seconds(90)
        while !readiness.isReady, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
        #expect(readiness.reasons.isEmpty, sourceLocation: sourceLocation)
    }

    // MARK: The neighbours

    struct Challenge: Sendable {
        let sid = ChallengeSID.generate(variant: 3, nowMs: Timestamp.nowMs())
        let factor = FactorSID.generate(variant: 3, nowMs: Timestamp.nowMs())
        let createdAtMs = Timestamp.nowMs()
        var lifeMs: Int64 = 60_000
        var latencyMs: UInt32 = 400
        var maxAttempts: UInt32 = 4
    }

    func dispatch(_ challenge: Challenge) async throws {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = Self.account
        dispatch.serviceSid = Self.service
        dispatch.challengeSid = challenge.sid.rawValue
        dispatch.identity = "person"
        dispatch.dispatchID = "c"
        dispatch.message = "Sign in?"
        dispatch.createdAtMs = challenge.createdAtMs
        dispatch.expiresAtMs = challenge.createdAtMs + challenge.lifeMs
        dispatch.redelivery.expectedLatencyMs = challenge.latencyMs
        dispatch.redelivery.maxAttempts = challenge.maxAttempts
        dispatch.fallbacks = ["sms", "voice"]
        var target = DispatchTarget()
        target.factorSid = challenge.factor.rawValue
        target.platform = .apn
        target.pushToken = String(repeating: "ab", count: 32)
        target.appID = "com.example"
        dispatch.targets = [target]
        var record = ChallengeRecord()
        record.dispatch = dispatch
        _ = try await producer.send(
            signer.record(
                .challenges, key: challenge.sid.rawValue, value: record.protobufBytes(),
                traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    }

    func outcome(
        _ disposition: Disposition, _ challenge: Challenge, _ dispatch: String = "c", reason: String = ""
    ) async throws {
        var record = OutcomeRecord()
        record.push.accountSid = Self.account
        record.push.serviceSid = Self.service
        record.push.challengeSid = challenge.sid.rawValue
        record.push.factorSid = challenge.factor.rawValue
        record.push.dispatchID = dispatch
        record.push.kind = .visible
        record.push.platform = .apn
        record.push.disposition = disposition
        record.push.reason = reason
        record.push.expiresAtMs = challenge.createdAtMs + challenge.lifeMs
        record.push.atMs = Timestamp.nowMs()
        _ = try await producer.send(
            signer.record(.outcomes, key: challenge.sid.rawValue, value: record.protobufBytes()))
    }

    func receipt(_ challenge: Challenge) -> ProducerRecord {
        var receipt = Receipt()
        receipt.accountSid = Self.account
        receipt.serviceSid = Self.service
        receipt.challengeSid = challenge.sid.rawValue
        receipt.factorSid = challenge.factor.rawValue
        receipt.channel = .visiblePush
        receipt.receivedAtMs = Timestamp.nowMs()
        return signer.record(.receipts, key: challenge.sid.rawValue, value: receipt.protobufBytes())
    }

    /// Creates and accepts many at once.
    func accepted(_ count: Int, edit: (inout Challenge) -> Void = { _ in }) async throws -> [Challenge] {
        let challenges = (0..<count).map { _ in
            var challenge = Challenge()
            edit(&challenge)
            return challenge
        }
        try await withThrowingDiscardingTaskGroup { group in
            for chunk in stride(from: 0, to: count, by: 50) {
                group.addTask {
                    for challenge in challenges[chunk..<min(chunk + 50, count)] {
                        try await dispatch(challenge)
                        try await outcome(.accepted, challenge)
                    }
                }
            }
        }
        return challenges
    }

    /// Receipts of many at once.
    func confirm(_ challenges: ArraySlice<Challenge>) async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for chunk in stride(from: challenges.startIndex, to: challenges.endIndex, by: 100) {
                group.addTask {
                    for challenge in challenges[chunk..<min(chunk + 100, challenges.endIndex)] {
                        _ = try await producer.send(receipt(challenge))
                    }
                }
            }
        }
    }

    // MARK: What the tracker wrote

    /// Exactly these have a t1 and nothing more.
    /// - Parameter isSpread: at most 75 % of the attempts within any second.
    func expectOnly(
        _ challenges: ArraySlice<Challenge>, isSpread: Bool, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let attempts = try attempts()
        let units = attempts.map { "\($0.challengeSid) \($0.dispatchID)" }
        let wanted = Set(challenges.map { "\($0.sid) t1" })
        #expect(units.count == wanted.count && Set(units) == wanted, sourceLocation: sourceLocation)
        guard isSpread else { return }
        let times = try tail.records(of: topics[.challenges]).compactMap { record -> Int64? in
            let value = try ChallengeRecord(value: record.value, contentType: nil)
            guard case .dispatch(let dispatch) = value.kind, dispatch.dispatchID == "t1" else { return nil }
            return record.timestampMs
        }.sorted()
        var densest = 0
        var from = 0
        for (index, time) in times.enumerated() {
            while times[from] < time - 1_000 { from += 1 }
            densest = max(densest, index - from + 1)
        }
        print(
            "\(times.count) attempts over \((times.last ?? 0) - (times.first ?? 0)) ms, \(densest) in the densest second"
        )
        #expect(densest * 4 <= times.count * 3, sourceLocation: sourceLocation)
    }

    /// Attempts t<n> on the log, in order.
    func attempts() throws -> [ChallengeDispatch] {
        try tail.records(of: topics[.challenges]).compactMap { record in
            let value = try ChallengeRecord(value: record.value, contentType: nil)
            guard case .dispatch(let dispatch) = value.kind, dispatch.dispatchID.hasPrefix("t") else { return nil }
            return dispatch
        }
    }

    /// What the outcome of its creation says; epoch milliseconds.
    func acceptedAtMs(_ challenge: Challenge) throws -> Int64? {
        try tail.records(of: topics[.outcomes]).lazy.compactMap { record -> Int64? in
            let value = try OutcomeRecord(value: record.value, contentType: nil)
            guard case .push(let outcome) = value.kind, outcome.challengeSid == challenge.sid.rawValue,
                outcome.dispatchID == "c"
            else { return nil }
            return outcome.atMs
        }.first
    }

    func attempts(of challenge: Challenge) throws -> [String] {
        try attempts().filter { $0.challengeSid == challenge.sid.rawValue }.map(\.dispatchID)
    }

    /// Attempts that the tracker wrote later than the event that says it knows the receipt.
    func attemptsAfterConfirmation(of challenge: Challenge) throws -> [String] {
        let confirmedAtMs = try tail.records(of: topics[.events]).compactMap { record -> Int64? in
            let event = try CloudEvent(json: record.value)
            let isIt = event.type == "beckon." + EventType.challengeConfirmed.rawValue
            return isIt && event.subject == challenge.sid.rawValue ? record.timestampMs : nil
        }.min()
        guard let confirmedAtMs else { return ["not confirmed"] }
        return try tail.records(of: topics[.challenges]).compactMap { record in
            let value = try ChallengeRecord(value: record.value, contentType: nil)
            guard case .dispatch(let dispatch) = value.kind, dispatch.dispatchID.hasPrefix("t"),
                dispatch.challengeSid == challenge.sid.rawValue, record.timestampMs > confirmedAtMs
            else { return nil }
            return dispatch.dispatchID
        }
    }

    func escalations() throws -> [Escalation] {
        try tail.records(of: topics[.outcomes]).compactMap { record in
            let value = try OutcomeRecord(value: record.value, contentType: nil)
            if case .escalation(let escalation) = value.kind { return escalation }
            return nil
        }
    }

    func events(_ type: EventType, of challenge: Challenge? = nil) throws -> [CloudEvent] {
        try tail.records(of: topics[.events]).map { try CloudEvent(json: $0.value) }.filter {
            $0.type == "beckon." + type.rawValue && (challenge == nil || $0.subject == challenge?.sid.rawValue)
        }
    }
}

/// Polls until the condition holds; records an issue at the deadline.
func eventually(
    _ what: Comment, within deadline: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + deadline
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record(what, sourceLocation: sourceLocation)
}
