import ChallengeModel
import Crypto
import KafkaClient
import PushGateway
import PushProviders
import ServiceSupport
import TestSupport
import Testing

@testable import DispatcherWorker

@Suite("records that are not what they should be", .serialized, .timeLimit(.minutes(10)))
struct PoisonTests {
    static let good = Speed.isMeasured ? 5000 : 1000

    @Test("each has an outcome or a dead letter that says why, and the lane goes on as without them")
    func everyKind() async throws {
        try await Rig.with { rig in
            let gateway = try PushGateway(configuration: PushGatewayConfiguration(), logger: rig.logger)
            var credential = ProviderCredential()
            credential.credentialSid = "CR-apns"
            credential.apnsToken.teamID = "TEAM123456"
            credential.apnsToken.keyID = "KEY1234567"
            credential.apnsToken.privateKeyPem = P256.Signing.PrivateKey().pemRepresentation
            gateway.setCredential(credential)
            let sender = ScriptedSender { push in
                push.platform == .apn ? .pass(gateway) : .answer(ScriptedSender.accepted())
            }
            let running = try rig.service(sender)
            try await running.ready()
            // 2 MB, which only a producer with other settings than ours can write.
            var kafka = rig.kafka
            kafka.properties["message.max.bytes"] = "3000000"
            let large = try KafkaProducer(configuration: kafka, logger: rig.logger)

            try await expectEach(rig, sender, large)

            // The same records without and with bad ones among them.
            let times = try await Speed.best { round in
                let first = (round + 1) * 100_000
                let alone = try await rig.seconds(Self.good) {
                    try await rig.write((0..<Self.good).map { Samples.dispatch(first + $0) })
                }
                var records: [ProducerRecord] = []
                for number in 0..<Self.good {
                    if number % 500 == 0 { records += rig.bad(first + 50_000 + number) }
                    records.append(rig.signed(Samples.dispatch(first + 20_000 + number)))
                }
                let among = try await rig.seconds(Self.good + Self.good / 500 * 2) { try await rig.write(records) }
                return (alone: alone, among: among)
            } until: {
                $0.among <= $0.alone * 1.3 + 0.1
            }
            Speed.expect(
                "lane-with-bad-records", ["alone_seconds": times.alone, "among_seconds": times.among],
                times.among <= times.alone * 1.3 + 0.1)
            await large.close(deadline: .seconds(1))
            try await running.stop()
            await gateway.close(deadline: .seconds(1))
        }
    }

    /// One of each, and what is said of it.
    private func expectEach(_ rig: Rig, _ sender: ScriptedSender, _ large: KafkaProducer) async throws {
        var huge = Samples.dispatch(2000)
        huge.message = String(repeating: "x", count: 2_000_000)
        var target = Samples.target(platform: .apn, token: "ab\r\nx-injected: 1\n")
        target.credentialSid = "CR-apns"
        _ = try await large.send(rig.signed(huge))
        try await rig.write(
            rig.bad(1000) + [
                rig.signed(Samples.dispatch(1004, targets: [target])),
                rig.signed(Samples.dispatch(1005, targets: (1...500).map { Samples.target($0) })),
                rig.signed(Samples.dispatch(1006)),
            ])
        try await eventually("the records are dealt with") {
            rig.outcomes.count == 1 + 2 + 1 + 500 + 1 && rig.deadLetters.count == 2
        }
        let reasons = rig.deadLetters.compactMap { $0.headers.text(of: RecordHeaderName.deadLetterReason) }
        #expect(Set(reasons) == ["protobuf", "mac"])
        #expect(rig.outcomes(of: 1002).map(\.reason) == ["unsupported-platform"])
        #expect(rig.outcomes(of: 1003).map(\.dropReason) == [.expiredBeforePush])
        #expect(rig.outcomes(of: 1004).map(\.disposition) == [.rejected])
        #expect(rig.outcomes(of: 1004).map(\.reason) == ["BadDeviceToken"])
        #expect(Set(rig.outcomes(of: 1005).map(\.factorSid)).count == 500)
        #expect(rig.outcomes(of: 1006).map(\.disposition) == [.accepted])
        #expect(rig.outcomes(of: 2000).map(\.disposition) == [.accepted])
        #expect(!sender.pushes.contains { $0.challengeSID == Samples.challenge(1001) }, "the forged one rings no phone")
    }
}

extension Rig {
    fileprivate func signed(_ dispatch: ChallengeDispatch) -> ProducerRecord {
        signer.record(.challenges, key: dispatch.challengeSid, value: Samples.value(dispatch))
    }

    /// No protobuf and a forged one (dead letters); a platform that nobody knows and one that has expired (outcomes).
    fileprivate func bad(_ first: Int) -> [ProducerRecord] {
        let key = Samples.challenge(first + 1)
        var forged = signer.record(.challenges, key: key, value: Samples.value(Samples.dispatch(first + 1)))
        forged.headers = forged.headers.map {
            $0.name == RecordAuthenticator.headerName
                ? RecordHeader($0.name, "k1:" + String(repeating: "A", count: 43) + "=") : $0
        }
        var strange = Samples.dispatch(first + 2)
        strange.targets[0].platform = .UNRECOGNIZED(77)
        return [
            signer.record(.challenges, key: Samples.challenge(first), value: [0xff, 0xff, 0xff, 0x01]), forged,
            signed(strange), signed(Samples.dispatch(first + 3, expiresAtMs: Moment.now().epochMs - 60_000)),
        ]
    }

    /// From the first record written until so many outcomes more are on their topic.
    fileprivate func seconds(_ outcomes: Int, _ work: () async throws -> Void) async throws -> Double {
        let topic = names[.outcomes]
        let wanted = tail.records(of: topic).count + outcomes
        let start = ContinuousClock.now
        try await work()
        try await eventually("the records are dealt with", within: .seconds(120)) {
            tail.records(of: topic).count >= wanted
        }
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
