import ChallengeModel
import KafkaClient
import KafkaGroup
import PushGateway
import PushProviders
import ServiceSupport
import Testing

@testable import DispatcherWorker

@Suite("What is accepted as a record")
struct ChallengeIntakeTests {
    let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: Samples.keys))
    var intake: ChallengeIntake { ChallengeIntake(records: RecordIntake(signer: signer, partitions: 1)) }

    func consumed(_ dispatch: ChallengeDispatch, key: String? = nil) -> ConsumedRecord {
        Samples.consumed(
            signer.record(.challenges, key: key ?? dispatch.challengeSid, value: Samples.value(dispatch)), offset: 0)
    }

    func reason(_ record: ConsumedRecord) -> String? {
        if case .bad(let reason, _) = intake.read(record) { return reason }
        return nil
    }

    @Test("a dispatch of ours is taken, with its traceparent, which is dropped when it is none")
    func good() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let record = signer.record(
            .challenges, key: Samples.challenge(1), value: Samples.value(Samples.dispatch(1)), traceparent: traceparent)
        guard case .dispatch(let checked) = intake.read(Samples.consumed(record, offset: 0)) else {
            Issue.record("expected a dispatch")
            return
        }
        #expect(checked.traceparent == traceparent)
        let wrong = signer.record(
            .challenges, key: Samples.challenge(1), value: Samples.value(Samples.dispatch(1)), traceparent: "00-a")
        guard case .dispatch(let bare) = intake.read(Samples.consumed(wrong, offset: 1)) else {
            Issue.record("expected a dispatch")
            return
        }
        #expect(bare.traceparent == nil)
        #expect(checked.factors.map(\.rawValue) == [Samples.factor()])
    }

    @Test("a dispatch in JSON is taken too")
    func json() {
        let text = """
            {"dispatch": {"accountSid": "\(Samples.account)", "serviceSid": "\(Samples.service)", "dispatchId": "c",
            "challengeSid": "\(Samples.challenge(1))", "targets": [{"factorSid": "\(Samples.factor())"}]}}
            """
        let record = signer.record(
            .challenges, key: Samples.challenge(1), value: Array(text.utf8), contentType: .json)
        guard case .dispatch = intake.read(Samples.consumed(record, offset: 0)) else {
            Issue.record("expected a dispatch")
            return
        }
    }

    @Test(
        "numbers out of the documented ranges go to the dead letters, before anything is calculated with them",
        arguments: [
            { $0.expiresAtMs = .max }, { $0.expiresAtMs = .max - 3_000_000 }, { $0.expiresAtMs = -1 },
            { $0.pushExpiresAtMs = .max - 9_999 }, { $0.createdAtMs = .min }, { $0.targets[0].registeredAtMs = .max },
            { $0.redelivery.maxAttempts = 256 },
        ] as [@Sendable (inout ChallengeDispatch) -> Void])
    func outOfRange(_ edit: @Sendable (inout ChallengeDispatch) -> Void) {
        var dispatch = Samples.dispatch(1)
        edit(&dispatch)
        #expect(reason(consumed(dispatch)) == "range")
        var value = ChallengeRecord()
        value.carried.dispatch = dispatch
        let record = signer.record(.challenges, key: Samples.challenge(1), value: value.protobufBytes())
        #expect(reason(Samples.consumed(record, offset: 0, timestampMs: .max)) == "range")
    }

    @Test("so do facts: outcomes, receipts, resolutions")
    func factsOutOfRange() {
        var outcome = Samples.outcome(1, .accepted, expiresAtMs: .max)
        var receipt = Samples.receipt(1)
        receipt.receivedAtMs = .min
        var resolution = Samples.resolution(1)
        resolution.atMs = .max
        func reason<Value: RecordValue>(_ topic: Topic, _ bytes: [UInt8], _ type: Value.Type) -> String? {
            let record = signer.record(topic, key: Samples.challenge(1), value: bytes)
            do throws(RecordFault) {
                _ = try intake.records.open(Samples.consumed(record, offset: 0), as: type)
                return nil
            } catch {
                return error.deadLetter?.reason
            }
        }
        #expect(reason(.outcomes, Samples.value(outcome), OutcomeRecord.self) == "range")
        outcome.expiresAtMs = 1
        outcome.tokenDiedAtMs = .max
        #expect(reason(.outcomes, Samples.value(outcome), OutcomeRecord.self) == "range")
        #expect(reason(.receipts, receipt.protobufBytes(), Receipt.self) == "range")
        #expect(reason(.resolutions, resolution.protobufBytes(), Resolution.self) == "range")
    }

    @Test("what is not what it says is refused with a stable word")
    func bad() {
        let good = signer.record(
            .challenges, key: Samples.challenge(1), value: Samples.value(Samples.dispatch(1)))
        var altered = good
        altered.value[altered.value.count - 1] ^= 1
        #expect(reason(Samples.consumed(altered, offset: 0)) == "mac")
        var bare = good
        bare.headers = []
        #expect(reason(Samples.consumed(bare, offset: 0)) == "mac")
        let other = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        #expect(
            reason(
                Samples.consumed(
                    other.record(.challenges, key: Samples.challenge(1), value: good.value), offset: 0)) == "mac")
        #expect(
            reason(
                Samples.consumed(
                    signer.record(.challenges, key: Samples.challenge(1), value: [0xff, 0xff, 0xff]), offset: 0))
                == "protobuf")
        #expect(
            reason(Samples.consumed(signer.record(.challenges, key: Samples.challenge(1), value: []), offset: 0))
                == "field")
        #expect(reason(consumed(Samples.dispatch(1), key: Samples.challenge(2))) == "field")
        var changes: [(inout ChallengeDispatch) -> Void] = []
        changes.append { $0.accountSid = "AC1" }
        changes.append { $0.serviceSid = "" }
        changes.append { $0.dispatchID = "t0" }
        changes.append { $0.targets = [] }
        changes.append { $0.targets = [Samples.target(), Samples.target()] }
        changes.append { $0.targets[0].factorSid = Samples.factor(0xabc).uppercased() }
        changes.append { $0.challengeSid = Samples.challenge(0xabc).uppercased() }
        for change in changes {
            var dispatch = Samples.dispatch(1)
            change(&dispatch)
            #expect(reason(consumed(dispatch)) == "field")
        }
    }

    @Test(
        "a fact is believed when it is ours, on each of the topics",
        arguments: [Topic.outcomes, .receipts, .resolutions])
    func facts(topic: Topic) {
        let other = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        func reason<Value: RecordValue>(_ signer: RecordSigner, _ value: [UInt8], as type: Value.Type) -> String? {
            let record = Samples.consumed(signer.record(topic, key: Samples.challenge(1), value: value), offset: 0)
            do throws(RecordFault) {
                _ = try intake.records.open(record, as: type)
                return nil
            } catch {
                return error.deadLetter?.reason
            }
        }
        for (signer, expected) in [(signer, nil), (other, "mac")] {
            switch topic {
            case .outcomes:
                let value = Samples.value(Samples.outcome(1, .accepted, expiresAtMs: 1))
                #expect(reason(signer, value, as: OutcomeRecord.self) == expected)
            case .receipts:
                #expect(reason(signer, Samples.receipt(1).protobufBytes(), as: Receipt.self) == expected)
            default:
                #expect(reason(signer, Samples.resolution(1).protobufBytes(), as: Resolution.self) == expected)
            }
        }
    }

    @Test("a record whose key belongs elsewhere is misplaced, unless it is forged")
    func misplaced() {
        let intake = ChallengeIntake(records: RecordIntake(signer: signer, partitions: 4))
        let record = signer.record(
            .challenges, key: Samples.challenge(1), value: Samples.value(Samples.dispatch(1)))
        let home = Murmur2.partition(key: record.key, partitions: 4)
        for partition in Int32(0)..<4 {
            let result = intake.read(Samples.consumed(record, partition: partition, offset: 0))
            if case .misplaced = result { #expect(partition != home) } else { #expect(partition == home) }
        }
        var forged = record
        forged.headers = []
        guard case .bad("mac", _) = intake.read(Samples.consumed(forged, partition: (home + 1) % 4, offset: 0))
        else {
            Issue.record("a forged record is not written to its right place")
            return
        }
    }
}
