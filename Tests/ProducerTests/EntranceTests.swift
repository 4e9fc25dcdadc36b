import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import KafkaGroup
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Kafka entrances", .timeLimit(.minutes(10)))
struct EntranceTests {
    func request(_ id: String, _ service: String, _ change: (inout ChallengeRequest) -> Void = { _ in })
        -> ChallengeRequest
    {
        var request = ChallengeRequest()
        request.requestID = id
        request.serviceSid = service.components(separatedBy: "/").last ?? ""
        request.identity = "user-0001"
        request.message = "Log in?"
        change(&request)
        return request
    }

    func record(_ value: [UInt8], _ producer: ProducerHarness, _ topic: Topic = .requests, type: String? = nil)
        -> ProducerRecord
    {
        ProducerRecord(
            topic: producer.names[topic], key: Array(UUID().uuidString.utf8), value: value,
            headers: type.map { [RecordHeader(ContentType.headerName, $0)] } ?? [])
    }

    func withWriter(
        _ producer: ProducerHarness, _ body: (KafkaProducer) async throws -> Void
    ) async throws {
        let writer = try KafkaProducer(configuration: producer.kafka, logger: ProducerHarness.logger)
        do { try await body(writer) } catch {
            await writer.close(deadline: .seconds(1))
            throw error
        }
        await writer.close(deadline: .seconds(1))
    }

    func challenges(_ producer: ProducerHarness, _ phone: TestDevice) async throws -> [JSONValue] {
        try await producer.get("\(phone.challengesPath)?PageSize=1000", as: producer.backend).items("challenges")
    }

    @Test(
        "protobuf, JSON and JSON without a header make challenges; a repeated id none; rules and poison are told apart")
    func requests() async throws {
        try await ProducerHarness.run(entrances: true, limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let sid = service.components(separatedBy: "/").last ?? ""
            let json =
                #"{"requestId":"r-2","serviceSid":"\#(sid)","identity":"user-0001","message":"Pay?","#
                + #""ttlSeconds":60,"fallbacks":["sms"],"hiddenDetails":{"b":"2","a":"1"}}"#
            let records = [
                record(request("r-1", service).protobufBytes(), producer, type: "application/protobuf"),
                record(Array(json.utf8), producer, type: "application/json; charset=utf-8"),
                record(Array(json.replacingOccurrences(of: "r-2", with: "r-3").utf8), producer),
                // A repeat of the first: the same id, whatever else it says.
                record(request("r-1", service) { $0.message = "Again?" }.protobufBytes(), producer),
                // Against the rules, and known to nobody: events.
                record(request("r-4", service) { $0.message = "" }.protobufBytes(), producer),
                record(request("r-5", service) { $0.ttlSeconds = 3601 }.protobufBytes(), producer),
                record(request("r-6", "VA" + String(repeating: "0", count: 32)).protobufBytes(), producer),
                record(request("r-7", service) { $0.identity = "user-9999" }.protobufBytes(), producer),
                // Poison.
                record([0xFF, 0xFF, 0xFF], producer, type: "application/protobuf"),
                record(Array("{".utf8), producer, type: "application/json"), record([], producer),
                record([1], producer, type: "text/plain"),
                record(request("", service).protobufBytes(), producer),
                record(
                    request("r-8", service) { $0.accountSid = "AC" + String(repeating: "0", count: 32) }
                        .protobufBytes(),
                    producer),
                // Behind all that, on whatever partition: the lane went on.
                record(request("r-9", service).protobufBytes(), producer),
            ]
            try await withWriter(producer) { writer in
                for record in records { _ = try await writer.send(record) }
            }
            let (events, letters) = (producer.names[.events], producer.names[.deadLetters])
            try await TopicTail.following(
                [events, letters], kafka: producer.kafka, logger: ProducerHarness.logger
            ) { tail in
                try await becomesTrue("all dead letters and rejections") {
                    let rejected = tail.records(of: events).filter {
                        (try? CloudEvent(json: $0.value))?.type == "beckon.request.rejected"
                    }
                    return tail.count(of: letters) >= 6 && rejected.count >= 4
                }
                let reasons = tail.records(of: letters).compactMap {
                    $0.headers.text(of: RecordHeaderName.deadLetterReason)
                }
                #expect(
                    reasons.sorted() == ["account", "content-type", "empty", "field", "json", "protobuf"])
                let signer = RecordSigner(
                    names: producer.names, authenticator: RecordAuthenticator(keys: producer.keys))
                #expect(tail.records(of: letters).allSatisfy { signer.isAuthentic($0) })
                let rejections = try tail.records(of: events).map { try CloudEvent(json: $0.value) }
                    .filter { $0.type == "beckon.request.rejected" }
                let codes = Dictionary(
                    rejections.map { ($0.subject, $0.data["code"]) }, uniquingKeysWith: { first, _ in first })
                #expect(
                    codes == [
                        "r-4": .integer(60200), "r-5": .integer(60200), "r-6": .integer(20404), "r-7": .integer(20404),
                    ])
                #expect(rejections.first { $0.subject == "r-5" }?.data["parameter"] == .string("ttl_seconds"))
            }
            try await becomesTrue("four challenges") { try await challenges(producer, phone).count >= 4 }
            let made = try await challenges(producer, phone)
            #expect(
                made.compactMap { $0["beckon"]?["request_id"]?.stringValue }.sorted() == ["r-1", "r-2", "r-3", "r-9"])
            let second = try #require(made.first { $0["beckon"]?["request_id"]?.stringValue == "r-2" })
            #expect(second["hidden_details"] == .object([("a", .string("1")), ("b", .string("2"))]))
            #expect(second["beckon"]?["fallbacks"] == .array([.string("sms")]))
            #expect(producer.metrics.count(.challengesCreated, [("source", "kafka")]) == 4)
            #expect(
                producer.metrics.count(.entranceRecords, [("entrance", "requests"), ("result", "repeated")]) == 1)
        }
    }

    @Test("a request that is read too late is rejected as expired, but not a repeat of one that was in time")
    func late() async throws {
        try await ProducerHarness.run(entrances: true, limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            try await withWriter(producer) { writer in
                _ = try await writer.send(record(request("in time", service).protobufBytes(), producer))
                try await becomesTrue("the challenge") { try await challenges(producer, phone).count == 1 }
                // The broker stamps by its own clock, which goes on meanwhile.
                producer.clock.advance(.seconds(3600))
                _ = try await writer.send(record(request("in time", service).protobufBytes(), producer))
                _ = try await writer.send(record(request("too late", service).protobufBytes(), producer))
            }
            let events = producer.names[.events]
            try await TopicTail.following([events], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                @Sendable func rejections() throws -> [CloudEvent] {
                    try tail.records(of: events).map { try CloudEvent(json: $0.value) }
                        .filter { $0.type == "beckon.request.rejected" }
                }
                try await becomesTrue("the rejection and the repeat") {
                    try !rejections().isEmpty
                        && producer.metrics.count(
                            .entranceRecords, [("entrance", "requests"), ("result", "repeated")]) == 1
                }
                #expect(try rejections().map(\.subject) == ["too late"])
                #expect(try rejections().first?.data["code"] == .integer(60323))
            }
        }
    }

    @Test("a request that a limit rejected is told once, and makes nothing when it comes again after the limit's time")
    func rejectedOnce() async throws {
        var limits = ChallengeLimits()
        limits.pending = 1
        try await ProducerHarness.run(entrances: true, limits: limits) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            @Sendable func results(_ result: String) -> Int64 {
                producer.metrics.count(.entranceRecords, [("entrance", "requests"), ("result", result)])
            }
            let events = producer.names[.events]
            try await TopicTail.following([events], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                @Sendable func rejections() throws -> [CloudEvent] {
                    try tail.records(of: events).map { try CloudEvent(json: $0.value) }
                        .filter { $0.type == "beckon.request.rejected" }
                }
                try await withWriter(producer) { writer in
                    func send(_ id: String, _ change: (inout ChallengeRequest) -> Void = { _ in }) async throws {
                        _ = try await writer.send(record(request(id, service, change).protobufBytes(), producer))
                    }
                    try await send("first") { $0.ttlSeconds = 60 }
                    try await becomesTrue("the first is made") { results("accepted") == 1 }
                    try await send("second")
                    try await becomesTrue("the second is rejected") { results("rejected") == 1 }
                    // The place of the first is free again.
                    producer.clock.advance(.seconds(61))
                    try await send("second")
                    try await becomesTrue("the second is known") { results("repeated") == 1 }
                    // One that makes a challenge keeps it, whatever a repeat of its id says.
                    try await send("first") { $0.message = "" }
                    try await becomesTrue("the first is known") { results("repeated") == 2 }
                    try await send("third")
                    try await becomesTrue("the third is made") { results("accepted") == 2 }
                    try await becomesTrue("its event") {
                        try tail.records(of: events).contains {
                            try CloudEvent(json: $0.value).data["request_id"] == .string("third")
                        }
                    }
                }
                let told = try rejections()
                #expect(told.map(\.subject) == ["second"])
                #expect(told.first?.data["code"] == .integer(20429))
                let made = try await challenges(producer, phone)
                #expect(made.compactMap { $0["beckon"]?["request_id"]?.stringValue } == ["first", "third"])
            }
        }
    }

    @Test("what a service demands and a request lacks is named by the record's field")
    func demanded() async throws {
        try await ProducerHarness.run(entrances: true) { producer in
            func service(_ settings: [(String, String)]) async throws -> String {
                let made = try await producer.post(
                    "/v2/Services", [("FriendlyName", "Bank")] + settings, as: producer.backend)
                let service = "/v2/Services/\(try made.text("sid"))"
                _ = try await producer.enroll("user-0001", service: service)
                return service
            }
            let numbers = try await service([("Push.NumberMatching", "required"), ("Push.NumberDigits", "4")])
            let single = try await service([("Push.FanOut", "false")])
            let events = producer.names[.events]
            try await TopicTail.following([events], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                @Sendable func rejections() throws -> [CloudEvent] {
                    try tail.records(of: events).map { try CloudEvent(json: $0.value) }
                        .filter { $0.type == "beckon.request.rejected" }
                }
                try await withWriter(producer) { writer in
                    let short = request("digits", numbers) { $0.numberDigits = 2 }
                    for request in [short, request("all", single)] {
                        _ = try await writer.send(record(request.protobufBytes(), producer))
                    }
                    try await becomesTrue("both are rejected") { try rejections().count == 2 }
                }
                for (id, field) in [("digits", "number_digits"), ("all", "factor_sid")] {
                    let told = try #require(try rejections().first { $0.subject == id })
                    #expect(told.data["parameter"] == .string(field))
                    guard case .string(let reason)? = told.data["reason"] else {
                        Issue.record("no reason")
                        continue
                    }
                    #expect(reason.hasPrefix("\(field): expected "), "\(reason)")
                    #expect(told.data["code"] == .integer(60200))
                }
            }
        }
    }

    @Test("over Kafka too a creation over the burst is rejected, and one while it is quiet is made and not pushed")
    func limited() async throws {
        var limits = ChallengeLimits()
        limits.burst = 2
        limits.denials = 1
        let one: [Topic: Int] = [.challenges: 1, .outcomes: 1, .receipts: 1, .resolutions: 1]
        try await ProducerHarness.run(entrances: true, ownBroker: one, limits: limits) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let (events, pushes) = (producer.names[.events], producer.names[.challenges])
            try await TopicTail.following(
                [events, pushes], kafka: producer.kafka, logger: ProducerHarness.logger
            ) { tail in
                @Sendable func told(_ type: EventType) throws -> [CloudEvent] {
                    try tail.records(of: events).map { try CloudEvent(json: $0.value) }
                        .filter { $0.type == "beckon.\(type.rawValue)" }
                }
                let first = try await producer.createChallenge(service, "user-0001")
                let path = "\(phone.challengesPath)/\(try first.text("sid"))"
                let token = try phone.token(nowMs: producer.clock.nowMs)
                let read = try await producer.get(path, as: token)
                let denied = try await producer.post(
                    path, [("AuthPayload", try phone.answer(read, "denied"))], as: token)
                #expect(denied.status == 200, "\(denied.text)")
                try await withWriter(producer) { writer in
                    // One after the other: they are of one partition or of two.
                    for (id, type) in [("quiet", EventType.challengeCreated), ("over", .requestRejected)] {
                        let value = request(id, service) { $0.fallbacks = ["sms"] }.protobufBytes()
                        _ = try await writer.send(record(value, producer))
                        try await becomesTrue("\(id) is told") {
                            try told(type).contains { $0.data["request_id"] == .string(id) }
                        }
                    }
                }
                let made = try #require(
                    try await challenges(producer, phone).first { $0["beckon"]?["request_id"] == .string("quiet") })
                #expect(made["status"] == .string("pending") && made["beckon"]?["quiet_until"] != nil)
                let over = try #require(try told(.requestRejected).first)
                #expect(over.subject == "over" && over.data["code"] == .integer(20429))
                #expect(over.data["fallbacks"] == .list(["sms"]))
                try await becomesTrue("the limit is told") {
                    try told(.limitReached).contains {
                        $0.data["limit"] == "quiet"
                            && $0.data["challenge_sid"] == made["sid"]?.stringValue.map { .string($0) }
                    }
                }
                // What is pushed next comes behind it: there is one partition.
                producer.clock.advance(.seconds(901))
                let next = try await producer.createChallenge(service, "user-0001")
                @Sendable func dispatched() throws -> [String] {
                    try tail.records(of: pushes).compactMap { record in
                        let kind = try ChallengeRecord(value: record.value, contentType: nil).kind
                        guard case .dispatch(let dispatch) = kind else { return nil }
                        return dispatch.challengeSid
                    }
                }
                let sid = try next.text("sid")
                try await becomesTrue("the next is pushed") { try dispatched().contains(sid) }
                #expect(try dispatched() == [try first.text("sid"), sid])
            }
        }
    }

    @Test("receipts by token become receipts; a bad token goes to the dead letters")
    func receipts() async throws {
        try await ProducerHarness.run(entrances: true, limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001")
            let serviceSID = try #require(ServiceSID(try created.text("service_sid")))
            let challenge = try #require(ChallengeSID(try created.text("sid")))
            let factor = try #require(FactorSID(phone.factor))
            let expiry = producer.clock.nowMs + 300_000
            func token(_ account: AccountSID) -> ReceiptToken {
                ReceiptToken(
                    account: account, service: serviceSID, challenge: challenge, factor: factor, dispatch: .creation,
                    expiresAtMs: expiry)
            }
            var good = Receipt()
            good.receiptToken = token(producer.account.sid).sealed(with: producer.keys)
            good.challengeSid = "ignored"
            var bad = Receipt()
            bad.receiptToken = token(producer.account.sid).sealed(with: .random())
            var foreign = Receipt()
            foreign.receiptToken = token(.generate(nowMs: 0)).sealed(with: producer.keys)
            try await withWriter(producer) { writer in
                for receipt in [bad, foreign, good] {
                    _ = try await writer.send(record(receipt.protobufBytes(), producer, .receiptRequests))
                }
            }
            let (topic, letters) = (producer.names[.receipts], producer.names[.deadLetters])
            try await TopicTail.following(
                [topic, letters], kafka: producer.kafka, logger: ProducerHarness.logger
            ) { tail in
                try await becomesTrue("a receipt and two dead letters") {
                    tail.count(of: topic) >= 1 && tail.count(of: letters) >= 2
                }
                let record = try #require(tail.records(of: topic).first)
                let receipt = try Receipt(value: record.value, contentType: ContentType.protobuf.rawValue)
                #expect(receipt.challengeSid == challenge.rawValue)
                #expect(receipt.channel == .backend)
                #expect(receipt.receiptToken.isEmpty)
                #expect(record.key == Array(challenge.rawValue.utf8))
                let reasons = tail.records(of: letters).compactMap {
                    $0.headers.text(of: RecordHeaderName.deadLetterReason)
                }
                #expect(reasons.sorted() == ["account", "token"])
            }
        }
    }

    @Test("records that a broker took and that are too large for a dead letter are cut, and the entrances go on")
    func tooLarge() async throws {
        try await ProducerHarness.run(entrances: true, limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            var kafka = producer.kafka
            kafka.properties["message.max.bytes"] = "1500000"
            let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
            @Sendable func bytes(_ count: Int) -> [UInt8] { Array(repeating: 7, count: count) }
            for topic in [Topic.requests, .receiptRequests] {
                for (key, value, header) in [(10, 400_000, 620_000), (10, 1_000, 1_000_000), (600_000, 10, 0)] {
                    _ = try await writer.send(
                        ProducerRecord(
                            topic: producer.names[topic], key: bytes(key), value: bytes(value),
                            headers: [RecordHeader("x", bytes(header))]))
                }
            }
            _ = try await writer.send(record(request("behind", service).protobufBytes(), producer))
            await writer.close(deadline: .seconds(1))
            try await becomesTrue("each is a dead letter") {
                ["requests", "receipt-requests"].allSatisfy {
                    producer.metrics.count(.entranceRecords, [("entrance", $0), ("result", "dead-letter")]) == 3
                }
            }
            try await becomesTrue("the request behind them") { try await challenges(producer, phone).count == 1 }
            let letters = producer.names[.deadLetters]
            try await TopicTail.following([letters], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                try await becomesTrue("all are there") { tail.count(of: letters) == 6 }
                let found = tail.records(of: letters)
                #expect(found.filter { $0.value == bytes(400_000) && $0.headers.value(of: "x") == nil }.count == 2)
                #expect(found.filter { $0.key == bytes(1024) && $0.headers.value(of: "x") == [] }.count == 2)
            }
        }
    }

    @Test("a record that dead letters refuse for good is dropped and counted, and holds nothing up")
    func refused() async throws {
        try await ProducerHarness.run { producer in
            var kafka = producer.kafka
            kafka.properties["message.max.bytes"] = "100000"
            let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
            let metrics = MetricCounts()
            let letters = DeadLetters(
                producer: writer,
                signer: RecordSigner(names: producer.names, authenticator: RecordAuthenticator(keys: producer.keys)),
                log: LimitedLog(ProducerHarness.logger), count: ProducerMetrics(factory: metrics).deadLetter)
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: producer.names[.requests], partition: 0), offset: 0,
                timestampMs: 1,
                key: [], value: Array(repeating: 7, count: 200_000), headers: [])
            #expect(await letters.send(record, reason: "json", detail: ""))
            #expect(metrics.count(.deadLettersRefused, [("topic", "requests")]) == 1)
            #expect(metrics.count(.deadLetters, [("topic", "requests"), ("reason", "json")]) == 0)
            await writer.close(deadline: .seconds(1))
        }
    }

    @Test("the lag is what is not done, also of what was not taken, and of a partition where nothing was read")
    func lag() async throws {
        let topic = "t-\(UUID().uuidString)"
        let kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: topic))
        let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
        let counts = MetricCounts()
        let mayGo = Latch()
        func member(name: String, until latch: Latch) -> GroupReader {
            GroupReader(
                topics: [topic], groupID: topic, kafka: kafka, maxInFlight: 8,
                commitEvery: .milliseconds(100), logger: ProducerHarness.logger,
                gauges: ProducerMetrics(factory: counts).gauges(entrance: name)
            ) { _ in
                let work = RecordWork {
                    await latch.wait()
                    return latch.isOpen
                }
                return [work]
            }
        }
        @Sendable func lag(_ name: String) -> Double? { counts.measured(.entranceLag, [("entrance", name)]) }
        for index in 0..<100 {
            _ = try await writer.send(ProducerRecord(topic: topic, key: Array("k\(index)".utf8), value: [1]))
        }
        let first = member(name: "first", until: mayGo)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await first.run() }
            try await becomesTrue("nothing is done") { lag("first") == 100 }
            mayGo.open()
            try await becomesTrue("all is done") { lag("first") == 0 }
            first.stop()
            try await group.waitForAll()
        }
        // Records in one partition; of the others only the former's commits are known.
        let held = Latch()
        let second = member(name: "second", until: held)
        for _ in 0..<5 {
            _ = try await writer.send(ProducerRecord(topic: topic, key: Array("k".utf8), value: [1]))
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await second.run() }
            try await becomesTrue("five are not done") { lag("second") == 5 }
            held.open()
            try await becomesTrue("all is done") { lag("second") == 0 }
            second.stop()
            try await group.waitForAll()
        }
        await writer.close(deadline: .seconds(1))
    }

    @Test("a record under a key that is not here holds its partition, uncommitted, until a member has the key")
    func unknownKey() async throws {
        let names = TopicNames(prefix: "t\(UUID().uuidString).")
        let kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: names[.receipts]))
        let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
        let (ours, other) = (KeyRing.random(id: "k1"), KeyRing.random(id: "k2"))
        let handled = Mutex<[String]>([])
        let readiness = Readiness()
        func signer(_ keys: KeyRing) -> RecordSigner {
            RecordSigner(names: names, authenticator: RecordAuthenticator(keys: keys))
        }
        func member(_ keys: KeyRing) -> GroupReader {
            GroupReader(
                topics: [names[.receipts]], groupID: names.prefix, kafka: kafka, maxInFlight: 8,
                commitEvery: .milliseconds(50),
                holds: KeyHolds(
                    signer: signer(keys), readiness: readiness, logger: ProducerHarness.logger,
                    nowMs: { Timestamp.nowMs() }
                ) { _ in },
                logger: ProducerHarness.logger,
                gauges: ProducerMetrics(factory: MetricCounts()).gauges(entrance: "delivery")
            ) { record in
                let work = RecordWork {
                    handled.withLock { $0.append(String(decoding: record.value, as: UTF8.self)) }
                    return true
                }
                return [work]
            }
        }
        func send(_ value: String, by keys: KeyRing) async throws {
            _ = try await writer.send(signer(keys).record(.receipts, key: "one", value: Array(value.utf8)))
        }
        try await send("before", by: ours)
        try await send("strange", by: other)
        try await send("behind", by: ours)
        for (keys, expected) in [
            (ours, ["before"]), (KeyRing(keys: ours.keys + other.keys), ["before", "strange", "behind"]),
        ] {
            let member = member(keys)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await member.run() }
                if keys.keys.count == 1 {
                    try await becomesTrue("held") { readiness.reasons[KeyHolds.check]?.contains("k2") == true }
                }
                try await becomesTrue("read as far as it can be") { handled.withLock { $0 } == expected }
                member.stop()
                try await group.waitForAll()
            }
            // Also when it leaves: the partition is another's then.
            #expect(readiness.isReady)
        }
        await writer.close(deadline: .seconds(1))
    }

    @Test(
        "a revocation drains and commits: a second member takes over and repeats nothing; what is not done is not committed"
    )
    func rebalance() async throws {
        let topic = "t-\(UUID().uuidString)"
        let kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: topic))
        let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
        let metrics = ProducerMetrics(factory: MetricCounts())
        let handled = Mutex<[String: Int]>([:])
        func member(_ handler: @escaping @Sendable (ConsumedRecord) async -> Bool) -> GroupReader {
            GroupReader(
                topics: [topic], groupID: topic, kafka: kafka, maxInFlight: 8,
                commitEvery: .seconds(600), logger: ProducerHarness.logger, gauges: metrics.gauges(entrance: "requests")
            ) { record in [RecordWork { await handler(record) }] }
        }
        let count: @Sendable (ConsumedRecord) async -> Bool = { record in
            handled.withLock { $0["\(record.topicPartition) \(record.offset)", default: 0] += 1 }
            return true
        }
        func write(_ range: Range<Int>) async throws {
            for index in range {
                _ = try await writer.send(
                    ProducerRecord(topic: topic, key: Array("k\(index)".utf8), value: Array("v".utf8)))
            }
        }
        try await write(0..<100)
        let first = member(count)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await first.run() }
            try await becomesTrue("the first has read all") { handled.withLock { $0.count == 100 } }
            // Its only commit is that of the revocation.
            first.stop()
            try await group.waitForAll()
        }
        try await write(100..<200)
        // One that never finishes: its partition's commit stays in front of it, and the drain bound ends the wait.
        let stuck = Mutex<String?>(nil)
        let second = member { record in
            let name = "\(record.topicPartition) \(record.offset)"
            let isStuck = stuck.withLock { stuck in
                if stuck == nil { stuck = name }
                return stuck == name
            }
            if isStuck {
                try? await Task.sleep(for: .seconds(3600))
                return false
            }
            return await count(record)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await second.run() }
            try await becomesTrue("the second has read all but one") { handled.withLock { $0.count == 199 } }
            second.stop()
            try await group.waitForAll()
        }
        let third = member(count)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await third.run() }
            try await becomesTrue("the stuck one is read again") { handled.withLock { $0.count == 200 } }
            third.stop()
            try await group.waitForAll()
        }
        let name = try #require(stuck.withLock { $0 })
        let partition = try #require(name.split(separator: " ").first)
        let repeats = handled.withLock { $0.filter { $0.value > 1 }.keys }
        #expect(repeats.allSatisfy { $0.hasPrefix(partition) }, "only behind the one that was not done")
        #expect(handled.withLock { $0[name] } == 1)
        await writer.close(deadline: .seconds(1))
    }
}

@Suite("Reading a request")
struct RequestReadingTests {
    let account = AccountSID.generate(nowMs: 0)
    let now: Int64 = 1_700_000_000_000

    private func read(timestampMs: Int64, _ change: (inout ChallengeRequest) -> Void = { _ in }) -> RequestReading {
        var request = ChallengeRequest()
        request.requestID = "r"
        request.serviceSid = "VA" + String(repeating: "1", count: 32)
        request.identity = "user-0001"
        request.message = "m"
        change(&request)
        return RequestReading(
            value: request.protobufBytes(), contentType: nil, timestampMs: timestampMs, traceparent: nil,
            account: account, nowMs: now)
    }

    private func field(_ label: String, _ value: String) -> DetailField {
        var field = DetailField()
        (field.label, field.value) = (label, value)
        return field
    }

    private func expiry(_ reading: RequestReading) -> Int64? {
        if case .create(let new) = reading { new.expiresAtMs } else { nil }
    }

    private func rejection(_ reading: RequestReading) -> RequestRejection? {
        if case .reject(let rejection) = reading { rejection } else { nil }
    }

    @Test("life counts from the record's timestamp, never from the future")
    func life() {
        #expect(expiry(read(timestampMs: now - 100_000)) == now + 200_000)
        #expect(expiry(read(timestampMs: now + 100_000)) == now + 300_000)
        #expect(expiry(read(timestampMs: -1)) == now + 300_000)
        #expect(expiry(read(timestampMs: now) { $0.ttlSeconds = 3600 }) == now + 3_600_000)
        #expect(
            expiry(read(timestampMs: now - 600_000)) == now - 300_000, "over: the store knows whether it is a repeat")
    }

    @Test("each rule names the record's field")
    func fields() {
        let cases: [(String, (inout ChallengeRequest) -> Void)] = [
            ("service_sid", { $0.serviceSid = "x" }), ("identity", { $0.identity = "short" }),
            ("factor_sid", { $0.factorSid = "x" }), ("message", { $0.message = "" }),
            ("fields", { $0.fields = Array(repeating: DetailField(), count: 21) }),
            ("hidden_details", { $0.hiddenDetails = ["a": String(repeating: "b", count: 1024)] }),
            ("ttl_seconds", { $0.ttlSeconds = 3601 }), ("fallbacks", { $0.fallbacks = ["S M S"] }),
            ("redelivery.max_attempts", { $0.redelivery.maxAttempts = 11 }),
            ("redelivery.expected_latency_ms", { $0.redelivery.expectedLatencyMs = 499 }),
            ("redelivery.confirm", { $0.redelivery.confirm = .UNRECOGNIZED(9) }),
            ("number_digits", { $0.numberDigits = 1 }), ("number_digits", { $0.numberDigits = 7 }),
            ("action_key", { $0.actionKey = String(repeating: "k", count: 129) }),
            // Control characters that nobody could mean: U+0000 ended texts in the store.
            ("message", { $0.message = "Pay 1,000\u{0}0 to Bob?" }), ("message", { $0.message = "Pay\u{8}?" }),
            ("action_key", { $0.actionKey = "a\u{0}b" }), ("action_key", { $0.actionKey = "a\nb" }),
            ("fields", { $0.fields = [field("IP", "1\u{0}2")] }),
            ("fields", { $0.fields = [field("I\tP", "1")] }),
            ("hidden_details", { $0.hiddenDetails = ["a": "1\u{0}2"] }),
            ("hidden_details", { $0.hiddenDetails = ["a\u{85}": "1"] }),
            ("identity", { $0.identity = "user-0001\u{0}x" }), ("fallbacks", { $0.fallbacks = ["sms\u{0}x"] }),
            ("service_sid", { $0.serviceSid += "\u{0}" }), ("factor_sid", { $0.factorSid = "YF\u{0}" }),
        ]
        for (field, change) in cases {
            let rejection = rejection(read(timestampMs: now, change))
            #expect(rejection?.parameter == field)
            #expect(rejection?.code == .invalidParameter)
            #expect(rejection?.reason.hasPrefix("\(field): expected ") == true)
        }
    }

    @Test("line ends in a message are meant; a request id with a control character is nobody's")
    func controlCharacters() {
        #expect(expiry(read(timestampMs: now) { $0.message = "Pay?\r\n\tTo: Bob" }) != nil)
        for id in ["r\u{0}", "\u{0}r", "r\ns", "r\u{7F}", "r\u{9F}"] {
            guard case .deadLetter("field", let detail) = read(timestampMs: now, { $0.requestID = id }) else {
                Issue.record("expected a dead letter for \(id.debugDescription)")
                continue
            }
            #expect(detail.hasPrefix("request_id: expected text without control characters"))
        }
    }

    @Test("JSON that names a field twice is refused, as over HTTP")
    func doubles() {
        let service = "VA" + String(repeating: "1", count: 32)
        func read(_ more: String, contentType: String? = nil) -> RequestReading {
            let json =
                #"{"request_id":"r","serviceSid":"\#(service)","identity":"user-0001","message":"m""# + more + "}"
            return RequestReading(
                value: Array(json.utf8), contentType: contentType, timestampMs: now, traceparent: nil,
                account: account, nowMs: now)
        }
        #expect(expiry(read("")) != nil)
        #expect(expiry(read(#","hidden_details":{"a_b":"1","aB":"2"}"#)) != nil, "names of a map are data")
        for more in [
            #","message":"Pay Eve?""#, #","requestId":"s""#, #","request_id":"s""#, #","ttl_seconds":1,"ttlSeconds":2"#,
            #","redelivery":{"max_attempts":1,"maxAttempts":2}"#, #","redelivery":{"confirm":"EACH","confirm":"ANY"}"#,
            #","fields":[{"label":"a","label":"b","value":"c"}]"#, #","hidden_details":{"a":"1","a":"2"}"#,
            #","hidden_details":{},"hiddenDetails":{"a":"2"}"#, #"} {"#,
        ] {
            for type in [nil, "application/json"] {
                guard case .deadLetter("json", _) = read(more, contentType: type) else {
                    Issue.record("expected a dead letter for \(more)")
                    continue
                }
            }
        }
        let token = #"{"receipt_token":"x","receiptToken":"y"}"#
        let receipt = ReceiptReading(
            value: Array(token.utf8), contentType: nil, keys: .random(), account: account, nowMs: now)
        guard case .deadLetter("json", _) = receipt else {
            Issue.record("expected a dead letter")
            return
        }
    }

    @Test("a rejection's event has the same id for each redelivery, and one per request")
    func eventIDs() throws {
        let one = try #require(rejection(read(timestampMs: now) { $0.message = "" }))
        let again = try #require(rejection(read(timestampMs: now) { $0.message = "" }))
        let other = try #require(
            rejection(
                read(timestampMs: now) {
                    $0.message = ""
                    $0.requestID = "s"
                }))
        #expect(one.eventID(account: account) == again.eventID(account: account))
        #expect(one.eventID(account: account) != other.eventID(account: account))
        // One id, two callers who name no service.
        let (empty, wrong) = (
            read(timestampMs: now) { $0.serviceSid = "" }, read(timestampMs: now) { $0.serviceSid = "x" }
        )
        let (first, second) = (try #require(rejection(empty)), try #require(rejection(wrong)))
        #expect(first.eventID(account: account) != second.eventID(account: account))
        #expect(first.service != second.service && empty.order != wrong.order)
    }
}
