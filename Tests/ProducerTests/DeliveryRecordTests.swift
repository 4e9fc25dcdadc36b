import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
import ServiceSupport
import Testing
import Wire

@testable import Producer

@Suite("Delivery records", .timeLimit(.minutes(5)))
struct DeliveryRecordTests {
    private func records(_ world: OutboxWorld) -> DeliveryRecords {
        DeliveryRecords(
            store: world.store, intake: RecordIntake(signer: world.signer, partitions: nil),
            clock: { Timestamp.nowMs() }, metrics: ProducerMetrics(factory: world.metrics), log: StoreLog(world.logger))
    }

    /// An outcome and a receipt of a challenge, as they come from the topics.
    private func written(by signer: RecordSigner, _ world: OutboxWorld, of challenge: ChallengeSID) -> [ConsumedRecord]
    {
        var outcome = OutcomeRecord()
        outcome.push.accountSid = world.account.rawValue
        outcome.push.challengeSid = challenge.rawValue
        outcome.push.factorSid = FactorSID.generate(nowMs: 1).rawValue
        outcome.push.dispatchID = "c"
        outcome.push.disposition = .accepted
        outcome.push.atMs = 1
        var receipt = Receipt()
        receipt.accountSid = world.account.rawValue
        receipt.challengeSid = challenge.rawValue
        receipt.factorSid = outcome.push.factorSid
        receipt.receivedAtMs = 1
        let values = [(Topic.outcomes, outcome.protobufBytes()), (.receipts, receipt.protobufBytes())]
        return values.map { topic, value in
            let record = signer.record(topic, key: challenge.rawValue, value: value)
            return ConsumedRecord(
                topicPartition: TopicPartition(topic: record.topic, partition: 0), offset: 0, timestampMs: 1,
                key: record.key, value: record.value, headers: record.headers)
        }
    }

    @Test("what is forged becomes no fact, on either topic; what is ours does")
    func forged() async throws {
        try await OutboxWorld.with { world in
            let challenge = try await world.challenge()
            let forger = RecordSigner(names: world.names, authenticator: RecordAuthenticator(keys: .random()))
            for record in written(by: forger, world, of: challenge) { #expect(await records(world).handle(record)) }
            #expect(try await world.store.deliveryFacts(of: challenge).isEmpty)
            for record in written(by: world.signer, world, of: challenge) {
                #expect(await records(world).handle(record))
            }
            #expect(try await world.store.deliveryFacts(of: challenge).count == 2)
        }
    }

    @Test("in whatever order facts are read, received counts more than undelivered, and that more than accepted")
    func progress() async throws {
        try await OutboxWorld.with { world in
            let sid = try await world.challenge()
            let challenge = try #require(
                try await world.store.challenge(
                    sid, account: world.account, service: world.service, identity: "person-0001", factor: nil))
            var outcome = PushOutcome()
            outcome.disposition = .accepted
            let (accepted, escalation, receipt) = (
                DeliveryFact.outcome(outcome), DeliveryFact.escalation(Escalation()), DeliveryFact.receipt(Receipt())
            )
            let cases: [([DeliveryFact], DeliveryProgress)] = [
                ([], .waiting), ([accepted], .accepted), ([accepted, escalation], .undelivered),
                ([escalation, accepted], .undelivered), ([escalation, receipt], .received),
                ([receipt, accepted, escalation], .received), ([accepted, receipt, accepted], .received),
            ]
            for (facts, expected) in cases { #expect(DeliveryProgress(challenge, facts) == expected, "\(facts)") }
        }
    }

    @Test("a record is not done while the store does not take its fact: it is tried again, and left to the next owner")
    func storeAway() async throws {
        try await OutboxWorld.with { world in
            let challenge = try await world.challenge()
            let record = written(by: world.signer, world, of: challenge)[0]
            let records = records(world)
            await world.store.close()
            let handling = Task { await records.handle(record) }
            try await eventually("tries") { world.metrics.count(ProducerMetricName.entranceRetries.rawValue) >= 2 }
            handling.cancel()
            #expect(await handling.value == false)
        }
    }
}
