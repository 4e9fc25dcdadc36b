import ChallengeModel
import Challenges
import Crypto
import Foundation
import KafkaClient
import TestSupport
import Testing

@testable import Producer

@Suite("HMS delivery receipts", .timeLimit(.minutes(5)))
struct HMSReceiptTests {
    static let user = "beckon"
    static let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

    /// What Huawei's page says, once more and apart from the code under test.
    static func header(
        atMs: Int64, nonce: String = "a07bfa17-6d82-4b53-a9a2-07cfef5ceef1", user: String = user, key: String = key,
        isDecoded: Bool = true, separator: String = "; "
    ) throws -> String {
        let bytes = isDecoded ? try #require(Data(base64Encoded: key)) : Data(key.utf8)
        let code = HMAC<SHA256>.authenticationCode(
            for: Data("\(atMs)\(nonce)\(user)".utf8), using: SymmetricKey(data: bytes))
        return ["timestamp=\(atMs)", "nonce=\(nonce)", "value=\(Data(code).base64EncodedString())"].joined(
            separator: separator)
    }

    static func status(_ tag: String, _ status: Int) -> String {
        #"{"biTag":"\#(tag)","appid":"104567890","token":"t","status":\#(status),"timestamp":1700000000123,"requestId":"r"}"#
    }

    private static func post(
        _ producer: ProducerHarness, _ statuses: [String], header: String?, base: String? = nil
    ) async throws -> HTTPAnswer {
        try await producer.send(
            "POST", (base ?? "") + "/v2/HmsReceipts", body: #"{"statuses":[\#(statuses.joined(separator: ","))]}"#,
            headers: [("Content-Type", "application/json")] + (header.map { [("X-HUAWEI-CALLBACK-ID", $0)] } ?? []))
    }

    @Test("the header is good with a key as bytes or as base64, in both of Huawei's spellings, for five minutes")
    func signature() throws {
        let keys = try #require(
            HMSCallbackKeys(parsing: "other:\(String(repeating: "k", count: 16)), beckon:\(Self.key)"))
        let now: Int64 = 1_800_000_000_000
        func isGood(_ header: String?) -> Bool { keys.accepts(header, nowMs: now) }
        #expect(isGood(try Self.header(atMs: now)))
        #expect(isGood(try Self.header(atMs: now, separator: ";")))
        #expect(isGood(try Self.header(atMs: now, isDecoded: false)))
        #expect(isGood(try Self.header(atMs: now - 300_000)))
        #expect(isGood(try Self.header(atMs: now + 300_000)))
        #expect(isGood(try Self.header(atMs: now / 1000)), "seconds, as an older page has it")
        #expect(!isGood(try Self.header(atMs: now - 300_001)))
        #expect(!isGood(try Self.header(atMs: now + 300_001)))
        #expect(!isGood(try Self.header(atMs: now, user: "somebody")))
        #expect(!isGood(try Self.header(atMs: now, key: Data(repeating: 1, count: 32).base64EncodedString())))
        let good = try Self.header(atMs: now)
        for bad in [
            nil, "", ";;;", "timestamp=", good.replacingOccurrences(of: "timestamp=18", with: "timestamp=17"),
            good.replacingOccurrences(of: "nonce=a", with: "nonce=b"), good + "; nonce=x",
            good.replacingOccurrences(of: "; value", with: "; worth"), String(good.dropLast(4)),
            good.replacingOccurrences(of: "timestamp=", with: "timestamp=-"), String(repeating: good, count: 9),
        ] {
            #expect(!isGood(bad), "\(bad ?? "none")")
        }
        for text in ["", "user", "user:short", ":\(Self.key)", "a:\(Self.key),b", "a:\(Self.key),,:"] {
            #expect(HMSCallbackKeys(parsing: text) == nil, "\(text)")
        }
        let many = (0..<33).map { "u\($0):\(Self.key)" }.joined(separator: ",")
        #expect(HMSCallbackKeys(parsing: many) == nil)
    }

    @Test("a tag is good under its key only, and names what it was made for")
    func tags() throws {
        let keys = KeyRing.random()
        let (challenge, factor) = (
            ChallengeSID.generate(variant: 3, nowMs: 0), FactorSID.generate(variant: 3, nowMs: 0)
        )
        for dispatch in [DispatchID.creation, .attempt(1), .attempt(60_000)] {
            let tag = ReceiptTag(challenge: challenge, factor: factor, dispatch: dispatch)
            let text = tag.sealed(with: keys)
            #expect(text.utf8.count == 64)
            let read = try #require(ReceiptTag(text, keys: keys))
            #expect(read == tag && read.dispatch == dispatch && read.challenge == challenge && read.factor == factor)
            #expect(ReceiptTag(text, keys: .random()) == nil)
            for index in text.indices {
                var altered = text
                altered.replaceSubrange(index...index, with: text[index] == "A" ? "B" : "A")
                #expect(ReceiptTag(altered, keys: keys) == nil)
            }
        }
        let resend = ReceiptTag(challenge: challenge, factor: factor, dispatch: .resend(.generate(nowMs: 0)))
        #expect(ReceiptTag(resend.sealed(with: keys), keys: keys)?.dispatch == nil)
        #expect(ReceiptTag("", keys: keys) == nil && ReceiptTag(String(repeating: "A", count: 64), keys: keys) == nil)
    }

    @Test("both versions of the body are read; what cannot be read is left out")
    func bodies() throws {
        func read(_ text: String) throws(RuleViolation) -> [HMSReceiptStatus] {
            try HMSReceiptStatus.read(Array(text.utf8))
        }
        let one = try read(#"{"statuses":[\#(Self.status("T", 6))]}"#)
        #expect(one == [HMSReceiptStatus(tag: "T", result: 6, timestampMs: 1_700_000_000_123)])
        let two = try read(
            #"{"statuses":[{"biTag":"T","pushType":0,"token":"t","requestId":"r","appPackageName":"p","deliveryStatus":{"result":0,"timestamp":1697741455082}}]}"#
        )
        #expect(two == [HMSReceiptStatus(tag: "T", result: 0, timestampMs: 1_697_741_455_082)])
        #expect(try read(#"{"statuses":[7,{},{"status":"0"},{"status":27}]}"#).map(\.result) == [27])
        #expect(try read(#"{"statuses":[]}"#).isEmpty)
        for bad in ["", "[]", "{}", #"{"statuses":{}}"#, "nonsense"] {
            #expect(throws: RuleViolation.self) { try read(bad) }
        }
        let many = Array(repeating: Self.status("", 0), count: 1001).joined(separator: ",")
        #expect(throws: RuleViolation.self) { try read(#"{"statuses":[\#(many)]}"#) }
        let shown = (0...300).compactMap { result in
            HMSReceiptStatus(tag: "", result: Int64(result), timestampMs: 0).shown.map { (result, $0) }
        }
        #expect(shown.map(\.0) == [0, 6] && shown.map(\.1) == [.unknown, .no])
    }

    @Test(
        "what arrived becomes a receipt of the provider; a forged, foreign or late one becomes nothing, and nobody can tell"
    )
    func taken() async throws {
        try await ProducerHarness.run { configuration in
            configuration.hmsCallback = HMSCallbackKeys(parsing: "\(Self.user):\(Self.key)")
            configuration.deviceAPI = .init()
        } _: { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let challenge = try #require(ChallengeSID(try created.text("sid")))
            let factor = try #require(FactorSID(phone.factor))
            func tag(_ dispatch: DispatchID, _ keys: KeyRing) -> String {
                ReceiptTag(challenge: challenge, factor: factor, dispatch: dispatch).sealed(with: keys)
            }
            let good = try Self.header(atMs: producer.clock.nowMs)
            let statuses = [
                Self.status(tag(.creation, producer.keys), 0), Self.status(tag(.attempt(1), producer.keys), 6),
                // Not ours, unknown, not arrived, and not even a tag.
                Self.status(tag(.attempt(2), .random()), 0), Self.status(tag(.attempt(3), producer.keys), 2),
                Self.status(
                    ReceiptTag(
                        challenge: .generate(variant: 3, nowMs: 0), factor: factor, dispatch: .creation
                    ).sealed(with: producer.keys), 0), Self.status("\"".replacingOccurrences(of: "\"", with: "x"), 0),
                "7",
            ]
            var told: Set<String> = []
            for base in [producer.base, try #require(producer.deviceBase)] {
                for group in [statuses, [statuses[2]], [statuses[4]], []] {
                    let answer = try await Self.post(producer, group, header: good, base: base)
                    #expect(answer.status == 200)
                    told.insert(answer.text)
                }
            }
            #expect(told == [#"{"code":"0","message":"success"}"#])

            var refused: Set<String> = []
            for header in [
                nil, "nonsense", try Self.header(atMs: producer.clock.nowMs - 300_001),
                try Self.header(atMs: producer.clock.nowMs, key: Data(repeating: 1, count: 32).base64EncodedString()),
            ] {
                let answer = try await Self.post(producer, [statuses[0]], header: header)
                #expect(answer.status == 401)
                refused.insert(answer.text)
            }
            #expect(refused.count == 1)
            #expect(producer.metrics.count(.authenticationFailures, [("kind", "hms-callback")]) == 4)

            // Late: after the expiry and its minute.
            producer.clock.advance(.seconds(361))
            let late = try Self.header(atMs: producer.clock.nowMs)
            #expect(
                try await Self.post(producer, [Self.status(tag(.attempt(9), producer.keys), 0)], header: late).status
                    == 200)

            let topic = producer.names[.receipts]
            let receipts = try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger)
            {
                tail in
                try await becomesTrue("two receipts on the topic") { tail.count(of: topic) >= 2 }
                return try tail.records(of: topic).map {
                    try Receipt(value: $0.value, contentType: ContentType.protobuf.rawValue)
                }
            }
            #expect(receipts.count == 2)
            #expect(Set(receipts.map(\.dispatchID)) == ["c", "t1"])
            for receipt in receipts {
                #expect(receipt.channel == .provider && receipt.shown == (receipt.dispatchID == "c" ? .unknown : .no))
                #expect(receipt.challengeSid == challenge.rawValue && receipt.factorSid == factor.rawValue)
                #expect(receipt.accountSid == producer.account.sid.rawValue)
                #expect(receipt.serviceSid == (try created.text("service_sid")))
                #expect(receipt.deviceTimeMs == 1_700_000_000_123)
            }
        }
    }

    @Test("a signed body may be half a megabyte, an unsigned one 64 KB")
    func size() async throws {
        try await ProducerHarness.run { configuration in
            configuration.hmsCallback = HMSCallbackKeys(parsing: "\(Self.user):\(Self.key)")
        } _: { producer in
            let header = try Self.header(atMs: producer.clock.nowMs)
            let many = (0..<900).map { _ in Self.status(String(repeating: "x", count: 200), 0) }
            #expect(try await Self.post(producer, many, header: header).status == 200)
            #expect(try await Self.post(producer, many, header: "nonsense").status == 413)
            let more = (0..<900).map { _ in Self.status(String(repeating: "x", count: 600), 0) }
            #expect(try await Self.post(producer, more, header: header).status == 413)
            #expect(
                producer.metrics.count(.hmsReceipts, [("status", "0"), ("ours", "no")]) == 900)
        }
    }

    @Test("without keys in the configuration nobody can sign")
    func closed() async throws {
        try await ProducerHarness.run { producer in
            let header = try Self.header(atMs: producer.clock.nowMs)
            #expect(try await Self.post(producer, [], header: header).status == 401)
        }
    }
}
