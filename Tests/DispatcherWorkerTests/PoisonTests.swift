import ChallengeModel
import KafkaClient
import PushGateway
import ServiceSupport
import Testing

@testable import DispatcherWorker

@Suite("records that are not what they should be", .serialized, .timeLimit(.minutes(1)))
struct PoisonTests {
    @Test("each has an outcome or a dead letter that says why, and the lane is as fast as without them")
    func everyKind() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            try await running.ready()
            let alone = try await rig.seconds {
                try await rig.write((1...600).map { Samples.dispatch($0) })
            } until: {
                rig.outcomes.count == 600
            }

            // 2 MB, which only a producer with other settings than ours can write.
            var kafka = rig.kafka
            kafka.properties["message.max.bytes"] = "3000000"
            let large = try KafkaProducer(configuration: kafka, logger: rig.logger)
            var huge = Samples.dispatch(2000)
            huge.message = String(repeating: "x", count: 2_000_000)
            let key = Samples.challenge(1001)
            var forged = rig.signer.record(.challenges, key: key, value: Samples.value(Samples.dispatch(1001)))
            forged.headers = forged.headers.map {
                $0.name == RecordAuthenticator.headerName
                    ? RecordHeader($0.name, "k1:" + String(repeating: "A", count: 43) + "=") : $0
            }
            var strange = Samples.dispatch(1002)
            strange.targets[0].platform = .UNRECOGNIZED(77)
            let bad: [ProducerRecord] = [
                rig.signer.record(.challenges, key: key, value: [0xff, 0xff, 0xff, 0x01]),
                forged,
                rig.signed(strange),
                rig.signed(Samples.dispatch(1003, expiresAtMs: Moment.now().epochMs - 60_000)),
                rig.signed(Samples.dispatch(1004, targets: [Samples.target(token: "line\r\nx-injected: 1\n")])),
                rig.signed(Samples.dispatch(1005, targets: (1...500).map { Samples.target($0) })),
            ]
            let among = try await rig.seconds {
                _ = try await large.send(rig.signed(huge))
                try await rig.write(bad)
                try await rig.write((3001...3600).map { Samples.dispatch($0) })
            } until: {
                rig.outcomes.count == 600 + 4 + 500 + 600 && rig.deadLetters.count == 2
            }
            await large.close(deadline: .seconds(1))
            let reasons = rig.deadLetters.compactMap { $0.headers.text(of: RecordHeaderName.deadLetterReason) }
            #expect(Set(reasons) == ["protobuf", "mac"])
            #expect(rig.outcomes(of: 1002).map(\.reason) == ["unsupported-platform"])
            #expect(rig.outcomes(of: 1003).map(\.dropReason) == [.expiredBeforePush])
            #expect(rig.outcomes(of: 1004).count == 1, "whether a token fits is the provider's folder to say")
            #expect(Set(rig.outcomes(of: 1005).map(\.factorSid)).count == 500)
            #expect(rig.outcomes(of: 2000).map(\.disposition) == [.accepted])
            #expect(!sender.pushes.contains { $0.challengeSID == key }, "the forged one rings no phone")
            #expect(among < alone * 3 + 2, "600 good ones took \(alone) s alone, \(among) s among the others")
            try await running.stop()
        }
    }
}

extension Rig {
    fileprivate func signed(_ dispatch: ChallengeDispatch) -> ProducerRecord {
        signer.record(.challenges, key: dispatch.challengeSid, value: Samples.value(dispatch))
    }

    fileprivate func seconds(_ work: () async throws -> Void, until isDone: () -> Bool) async throws -> Double {
        let start = ContinuousClock.now
        try await work()
        try await eventually("the records are dealt with", within: .seconds(25), isDone)
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
