import ChallengeModel
import Foundation
import Simulators
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("against the look-alike of APNs, with its switches", .serialized, .timeLimit(.minutes(5)))
struct LookAlikeTests {
    private func run(
        _ change: (inout ProviderFaults) -> Void,
        configure: @escaping (inout PushGatewayConfiguration) -> Void = { _ in },
        _ body: (Rig, SimulatedProviders) async throws -> Void
    ) async throws {
        try await SimulatedProviders.withRunning(logger: Rig.logger) { providers, addresses in
            var faults = ProviderFaults()
            change(&faults)
            providers.setFaults(faults, .apn)
            let caFile = FileManager.default.temporaryDirectory.appending(path: "look-alike-\(UUID()).pem").path
            try providers.certificates.writePEM(to: caFile)
            defer { try? FileManager.default.removeItem(atPath: caFile) }
            let key = try providers.makeAPNsKey()
            try await Rig.run(
                addresses.apnsURL, fcmURL: addresses.fcmURL,
                configure: {
                    $0.caFile = caFile
                    configure(&$0)
                }
            ) { rig in
                var credential = Rig.apnsCredential()
                credential.apnsToken.teamID = key.teamID
                credential.apnsToken.keyID = key.keyID
                credential.apnsToken.privateKeyPem = key.privateKeyPEM
                rig.gateway.setCredential(credential)
                try await body(rig, providers)
            }
        }
    }

    /// A challenge of its own each: the look-alike counts repeats by (device, challenge, dispatch, kind).
    private static func push(_ number: Int) -> Push {
        var push = Rig.push()
        let digits = String(number)
        push.challengeSID = "YC" + String(repeating: "0", count: 32 - digits.count) + digits
        return push
    }

    @Test(
        "GOAWAY every 500 streams at 60 to 80 ms: nothing lost, nothing sent twice, no error", arguments: [100, 900])
    func goaway(inFlight: Int) async throws {
        let count = ProviderFaultTests.isLong ? 20_000 : 2000
        try await run {
            $0.goAwayEveryStreams = 500
            $0.latencyMs = 60
            $0.latencyJitterMs = 20
        } configure: {
            $0.deadline = .seconds(120)
        } _: { rig, providers in
            #expect(await rig.volley(count, inFlight: inFlight, Self.push).summary == ["accepted": count])
            let seen = providers.network.counters(.apn)
            #expect(seen.accepted == count && seen.duplicates == 0 && seen.duplicatesAreExact)
            #expect(
                rig.gateway.statistics.sum(\.goaways) >= count / 500 - 1 && rig.gateway.statistics.sum(\.timeouts) == 0)
        }
    }

    @Test("one in a hundred is never answered: unknown at its deadline, its slot back, the others as ever")
    func silentShare() async throws {
        let count = ProviderFaultTests.isLong ? 20_000 : 2000
        try await run {
            $0.neverAnswerShare = 0.01
            $0.latencyMs = 10
        } configure: {
            $0.deadline = .seconds(3)
        } _: { rig, providers in
            let summary = await rig.volley(count, inFlight: 100, Self.push).summary
            let silenced = providers.network.counters(.apn).silenced
            #expect(silenced > 0 && silenced < count / 20)
            #expect(summary == ["accepted": count - silenced, "unknown timeout": silenced])
            #expect(rig.gateway.inFlight == 0 && rig.gateway.statistics.sum(\.connectionsLost) == 0)
        }
    }

    @Test("few streams, tiny windows that are widened late, and a slow start of TLS: every push arrives once")
    func narrow() async throws {
        try await run {
            $0.maxStreams = 5
            $0.streamWindow = 200
            $0.windowDelayMs = 2
            $0.slowTLSMs = 300
        } _: { rig, providers in
            let answers = await rig.volley(150, inFlight: 50, Self.push)
            #expect(answers.summary == ["accepted": 150])
            let seen = providers.network.counters(.apn)
            #expect(seen.accepted == 150 && seen.duplicates == 0 && seen.afterExpiry == 0)
        }
    }

    @Test("refused connections defer pushes; when they are taken again pushes flow")
    func refused() async throws {
        try await run {
            $0.refusesConnections = true
        } configure: {
            $0.deadline = .seconds(2)
        } _: { rig, providers in
            let answer = await rig.send(Rig.push())
            #expect(answer.disposition == .deferred && answer.reason == "connection")
            providers.setFaults(ProviderFaults(), .apn)
            let end = ContinuousClock.now + .seconds(90)
            while await rig.send(Rig.push()).disposition != .accepted, .now < end {
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(await rig.volley(50, inFlight: 10).summary == ["accepted": 50])
        }
    }

    @Test("the slow ones of a distribution are slow, and only they")
    func tail() async throws {
        try await run {
            $0.latencyMs = 5
            $0.latencyTailShare = 0.05
            $0.latencyTailMs = 400
        } _: { rig, _ in
            let timed = await rig.timed(400, inFlight: 40) { _ in Rig.push() }
            #expect(timed.answers == ["accepted": 400])
            #expect(timed.p99Ms >= 400)
        }
    }
}
