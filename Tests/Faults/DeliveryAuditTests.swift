import ChallengeModel
import KafkaClient
import TestSupport
import Testing

@Suite("The audit of deliveries")
struct DeliveryAuditTests {
    static let names = TopicNames()
    static let sid = "YC03" + String(repeating: "a", count: 30)
    static let factor = "YF03" + String(repeating: "b", count: 30)

    private func consumed(_ topic: Topic, _ value: [UInt8], timestampMs: Int64) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: TopicPartition(topic: Self.names[topic], partition: 0), offset: 0, timestampMs: timestampMs,
            key: Array(Self.sid.utf8), value: value, headers: [])
    }

    @Test(
        "a push after a receipt counts from when the receipt was on the log, not from its writer's time stamp",
        arguments: [true, false])
    func afterReceipt(_ isLate: Bool) throws {
        var outcome = OutcomeRecord()
        outcome.push.challengeSid = Self.sid
        outcome.push.factorSid = Self.factor
        outcome.push.dispatchID = "t1"
        outcome.push.disposition = .accepted
        outcome.push.sentAtMs = 10_000
        outcome.push.expiresAtMs = 300_000
        var receipt = Receipt()
        receipt.challengeSid = Self.sid
        receipt.factorSid = Self.factor
        // Its writer made it 3 s before the push; a busy machine let it reach the log half a second before, or 1.5 s.
        let onTheLogMs: Int64 = isLate ? 8_500 : 9_500
        let audit = try DeliveryAudit(
            challenges: [], outcomes: [consumed(.outcomes, outcome.protobufBytes(), timestampMs: 10_100)],
            receipts: [consumed(.receipts, receipt.protobufBytes(), timestampMs: 7_000)], resolutions: [],
            appendedByMs: { _ in onTheLogMs })
        #expect(audit.afterReceipt.count == (isLate ? 1 : 0))
    }

    @Test("an outcome that was written twice is one push; two outcomes of one unit are two")
    func recordedAgain() throws {
        var outcome = OutcomeRecord()
        outcome.push.challengeSid = Self.sid
        outcome.push.factorSid = Self.factor
        outcome.push.dispatchID = "c"
        outcome.push.disposition = .accepted
        outcome.push.sentAtMs = 10_000
        outcome.push.expiresAtMs = 300_000
        func audit(_ outcomes: [OutcomeRecord]) throws -> DeliveryAudit {
            try DeliveryAudit(
                challenges: [], outcomes: outcomes.map { consumed(.outcomes, $0.protobufBytes(), timestampMs: 10_100) },
                receipts: [], resolutions: [], appendedByMs: { _ in 0 })
        }
        let once = try audit([outcome, outcome])
        #expect(once.duplicates.isEmpty && once.recordedAgain == 1)
        var again = outcome
        again.push.sentAtMs = 10_001
        let twice = try audit([outcome, again])
        #expect(twice.duplicates.map(\.isOfOneLane) == [true] && twice.recordedAgain == 0)
    }
}
