import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import Producer

/// Writes what dispatchers and trackers write.
struct OutcomeWriter: Sendable {
    let producer: ProducerHarness
    let writer: KafkaProducer
    let signer: RecordSigner

    /// - Parameter keys: other ones than the Producer's make forged records.
    static func with<Result: Sendable>(
        _ producer: ProducerHarness, keys: KeyRing? = nil, _ body: (OutcomeWriter) async throws -> Result
    ) async throws -> Result {
        let writer = try KafkaProducer(configuration: producer.kafka, logger: ProducerHarness.logger)
        let signer = RecordSigner(
            names: producer.names, authenticator: RecordAuthenticator(keys: keys ?? producer.keys))
        let result: Result
        do {
            result = try await body(OutcomeWriter(producer: producer, writer: writer, signer: signer))
        } catch {
            await writer.close(deadline: .seconds(1))
            throw error
        }
        await writer.close(deadline: .seconds(5))
        return result
    }

    func outcome(
        _ challenge: HTTPAnswer, _ factor: String, _ disposition: Disposition, afterMs: Int64 = 10,
        _ change: (inout PushOutcome) -> Void = { _ in }
    ) async throws {
        var outcome = PushOutcome()
        outcome.accountSid = producer.account.sid.rawValue
        outcome.serviceSid = try challenge.text("service_sid")
        outcome.challengeSid = try challenge.text("sid")
        outcome.factorSid = factor
        outcome.dispatchID = "c"
        outcome.kind = .visible
        outcome.disposition = disposition
        outcome.platform = .apn
        outcome.sentAtMs = producer.clock.nowMs + afterMs - 5
        outcome.atMs = producer.clock.nowMs + afterMs
        change(&outcome)
        var record = OutcomeRecord()
        record.kind = .push(outcome)
        try await send(record, key: outcome.challengeSid)
    }

    func escalation(_ challenge: HTTPAnswer, _ factor: String, afterMs: Int64) async throws {
        var escalation = Escalation()
        escalation.accountSid = producer.account.sid.rawValue
        escalation.serviceSid = try challenge.text("service_sid")
        escalation.challengeSid = try challenge.text("sid")
        escalation.attempts = 1
        escalation.fallbacks = ["sms"]
        escalation.atMs = producer.clock.nowMs + afterMs
        var device = DeviceFailure()
        device.factorSid = factor
        device.reason = "no-receipt"
        escalation.devices = [device]
        var record = OutcomeRecord()
        record.kind = .escalation(escalation)
        try await send(record, key: escalation.challengeSid)
    }

    private func send(_ record: OutcomeRecord, key: String) async throws {
        _ = try await writer.send(signer.record(.outcomes, key: key, value: record.protobufBytes()))
    }
}

@Suite("Timeline", .timeLimit(.minutes(10)))
struct TimelineTests {
    private func events(_ answer: HTTPAnswer) throws -> [String] {
        try answer.items("timeline").compactMap { $0["event"]?.stringValue }
    }

    @Test("the story of a challenge is told in order, with what each provider and device said")
    func story() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let tablet = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("Fallback", "sms")])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            let fresh = try await producer.get("\(path)/Timeline", as: producer.backend)
            #expect(fresh.status == 200)
            #expect(try events(fresh) == ["created"])
            #expect(try fresh.text("delivery") == "waiting")
            try await OutcomeWriter.with(producer) { writer in
                try await writer.outcome(created, phone.factor, .accepted, afterMs: 20) { $0.providerStatus = 200 }
                try await writer.outcome(created, tablet.factor, .rejected, afterMs: 30) {
                    $0.reason = "BadTopic"
                    $0.providerStatus = 400
                }
                try await writer.outcome(created, phone.factor, .deferred, afterMs: 40) {
                    $0.dispatchID = "t1"
                    $0.reason = "ServiceUnavailable"
                    $0.retryAtMs = producer.clock.nowMs + 5000
                }
                // Again, as after a restart: nothing new.
                try await writer.outcome(created, phone.factor, .accepted, afterMs: 20) { $0.providerStatus = 200 }
                try await writer.escalation(created, phone.factor, afterMs: 50)
            }
            try await becomesTrue("all of it has been read") {
                let answer = try await producer.get("\(path)/Timeline", as: producer.backend)
                return try events(answer).contains("undelivered") && events(answer).contains("deferred")
            }
            producer.clock.advance(.seconds(1))
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            let shown = try await producer.post(
                "\(path)/Receipts", [("Channel", "visible"), ("Shown", "yes")],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(shown.status == 204)
            producer.clock.advance(.seconds(1))
            let answered = try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "approved"))],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answered.status == 200, "\(answered.text)")
            try await becomesTrue("both receipts have been read") {
                let answer = try await producer.get("\(path)/Timeline", as: producer.backend)
                return try events(answer).count { $0 == "received" } == 2
            }
            let told = try await producer.get("\(path)/Timeline", as: producer.backend)
            #expect(
                try events(told) == [
                    "created", "dispatched", "accepted", "refused", "dispatched", "deferred", "undelivered", "received",
                    "received", "approved",
                ])
            #expect(try told.text("delivery") == "received")
            #expect(try told.text("status") == "approved")
            let entries = try told.items("timeline")
            #expect(entries[2]["provider_status"]?.integerValue == 200)
            #expect(entries[3]["reason"]?.stringValue == "BadTopic")
            #expect(entries[3]["factor_sid"]?.stringValue == tablet.factor)
            #expect(entries[5]["until"]?.stringValue != nil)
            #expect(entries[6]["fallbacks"] == .array([.string("sms")]))
            #expect(entries[9]["factor_sid"]?.stringValue == phone.factor)
            let dates = entries.compactMap { $0["date"]?.stringValue }
            #expect(dates == dates.sorted() && dates.count == entries.count)
            for secret in [phone.pushToken, tablet.pushToken, "Log in?", try phone.answer(read, "approved")] {
                #expect(!told.text.contains(secret))
            }
            // Of a challenge in a fan-out the backend reads how far it has come, where it reads the extensions.
            let shownToBackend = try await producer.get(path, as: producer.backend)
            #expect(try shownToBackend.json()["beckon"]?["delivery"]?.stringValue == "received")
        }
    }

    @Test("a timeline is another account's and a device's business in no way; one that is over says so")
    func refusals() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))/Timeline"
            #expect(try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs)).status == 401)
            #expect(try await producer.get(path).status == 401)
            #expect(try await producer.post(path, as: producer.backend).status == 405)
            let other = path.replacingOccurrences(of: "user-0001", with: "user-0002")
            #expect(try await producer.get(other, as: producer.backend).status == 404)
            producer.clock.advance(.seconds(301))
            let late = try await producer.get(path, as: producer.backend)
            #expect(try events(late) == ["created", "expired"])
        }
    }

    @Test("forged and unreadable records say nothing, and the ones behind them are read")
    func forged() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001")
            let path = "\(phone.challengesPath)/\(try created.text("sid"))/Timeline"
            try await OutcomeWriter.with(producer, keys: .random()) { writer in
                try await writer.outcome(created, phone.factor, .tokenDead)
            }
            try await OutcomeWriter.with(producer) { writer in
                let key = try created.text("sid")
                _ = try await writer.writer.send(writer.signer.record(.outcomes, key: key, value: [0xFF, 0xFF]))
                // Another key than its challenge's.
                var receipt = Receipt()
                receipt.accountSid = producer.account.sid.rawValue
                receipt.challengeSid = key
                receipt.factorSid = phone.factor
                _ = try await writer.writer.send(
                    writer.signer.record(
                        .receipts, key: ChallengeSID.generate(nowMs: 1).rawValue, value: receipt.protobufBytes()))
                try await writer.outcome(created, phone.factor, .accepted)
            }
            try await becomesTrue("the good one, and the count of the others") {
                let answer = try await producer.get(path, as: producer.backend)
                return try events(answer).contains("accepted")
                    && producer.metrics.count(
                        .entranceRecords, [("entrance", "delivery"), ("result", "forged")]) == 1
                    && producer.metrics.count(
                        .entranceRecords, [("entrance", "delivery"), ("result", "unreadable")]) == 2
            }
            let told = try await producer.get(path, as: producer.backend)
            #expect(try events(told) == ["created", "dispatched", "accepted"])
        }
    }
}
