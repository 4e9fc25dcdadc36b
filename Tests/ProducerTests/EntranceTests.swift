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

}
