import ChallengeModel
import KafkaClient
import KafkaGroup
import PushGateway
import PushProviders
import ServiceSupport
import TestSupport
import Testing

@testable import DispatcherWorker

@Suite("record keys that a dispatcher does not have", .timeLimit(.minutes(5)))
struct RecordKeyTests {
    static let other = KeyRing.random(id: "k2")

    @Test(
        "hold their partition alone, unready and uncommitted, until a dispatcher has the key; nothing goes to the dead letters",
        arguments: [Topic.challenges, .receipts])
    func held(_ topic: Topic) async throws {
        try await Rig.with(partitions: 2) { rig in
            let signer = RecordSigner(names: rig.names, authenticator: RecordAuthenticator(keys: Self.other))
            func home(_ number: Int) -> Int32 {
                Murmur2.partition(key: Array(Samples.challenge(number).utf8), partitions: 2)
            }
            let numbers = Array(1...12)
            let (there, elsewhere) = (numbers.filter { home($0) == home(1) }, numbers.filter { home($0) != home(1) })
            try #require(there.count > 1 && !elsewhere.isEmpty)
            // The first record of the partition, or a receipt in it: whoever cannot read that may push to a device that
            // has confirmed.
            let value = topic == .challenges ? Samples.value(Samples.dispatch(1)) : Samples.receipt(1).protobufBytes()
            try await rig.write([signer.record(topic, key: Samples.challenge(1), value: value)])
            let dispatched = topic == .challenges ? Array(numbers.dropFirst()) : numbers
            try await rig.write(dispatched.map { Samples.dispatch($0) })

            let sender = ScriptedSender()
            let first = try rig.service(sender)
            try await eventually("the other partition is served") { rig.outcomes.count == elsewhere.count }
            try await eventually("the hold is told") {
                first.readiness.reasons[KeyHolds.check]?.contains("k2") == true
            }
            #expect(rig.counters.gauge("beckon_dispatcher_held_partitions") == 1)
            #expect(Set(sender.pushes.map(\.challengeSID)) == Set(elsewhere.map(Samples.challenge)))
            try await first.stop()
            #expect(try await rig.committed(partition: home(1))?.offset ?? 0 == 0)

            let both = KeyRing(keys: Samples.keys.keys + Self.other.keys)
            let second = try rig.service(sender) { $0.recordKeys = both }
            try await eventually("everything has its outcome") { rig.outcomes.count == numbers.count }
            try await second.ready()
            #expect(rig.deadLetters.isEmpty)
            #expect(sender.counts.values.allSatisfy { $0 == 1 })
            if topic == .receipts { #expect(rig.outcomes(of: 1).map(\.disposition) == [.dropped]) }
            try await second.stop()
        }
    }

    @Test(
        "a credential under a key that is not here makes the dispatcher unready; its next record, or the key, ends that"
    )
    func credential() async throws {
        try await Rig.with { rig in
            func sealed(_ sid: String, by signer: RecordSigner, keys: KeyRing) throws -> ProducerRecord {
                var credential = ProviderCredential()
                credential.accountSid = Samples.account
                credential.credentialSid = sid
                credential.fcm.projectID = "p"
                let value = try SealedConfiguration(sealing: credential, keys: keys)
                return signer.record(.configuration, key: sid, value: value.protobufBytes())
            }
            let strange = RecordSigner(names: rig.names, authenticator: RecordAuthenticator(keys: Self.other))
            let (one, two) = ("CR00000000000000000000000000000001", "CR00000000000000000000000000000002")
            try await rig.write([
                sealed(one, by: strange, keys: rig.configurationKeys), sealed(two, by: rig.signer, keys: Self.other),
            ])
            try await rig.write([Samples.dispatch(1)])
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            try await eventually("the challenge has its outcome") { rig.outcomes.count == 1 }
            let reason = running.readiness.reasons[DispatcherService.Check.credentials] ?? ""
            #expect(reason.contains("BECKON_RECORD_KEYS") && reason.contains("BECKON_CONFIGURATION_KEYS"), "\(reason)")
            #expect(rig.counters.gauge("beckon_dispatcher_unreadable_credentials") == 2)
            try await rig.write([
                sealed(one, by: rig.signer, keys: rig.configurationKeys),
                sealed(two, by: rig.signer, keys: rig.configurationKeys),
            ])
            try await running.ready()
            #expect(Set(sender.credentials.keys) == [one, two])
            try await running.stop()
        }
    }
}
