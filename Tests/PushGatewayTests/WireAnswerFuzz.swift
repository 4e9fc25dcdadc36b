import ChallengeModel
import NIOHPACK
import NIOHTTP2
import Synchronization
import TestSupport
import Testing

@testable import PushGateway
@testable import PushProviders

/// The same as `AnswerFuzz`, over real TLS and HTTP/2: odd statuses, headers, bodies, blocks and resets, to every
/// provider.
@Suite("Random answers on the wire", .timeLimit(.minutes(30)))
struct WireAnswerFuzz {
    private static let bodies = [
        "", "{}", "<html>", #"{"name":"projects/p/messages/1"}"#,
        #"{"reason":"Unregistered","timestamp":1760000000000}"#,
        #"{"code":"80000000","requestId":"1"}"#, #"{"error":{"status":"UNAVAILABLE"}}"#,
        #"{"access_token":"at","expires_in":3599}"#, #"{"error":"invalid_grant","error_description":"No."}"#,
        String(repeating: "[", count: 70_000),
    ]
    private static let platforms: [Platform] = [.apn, .fcm, .hms]
    private static let waits = [
        "7", "-1", "9223372036854775807", "Sun, 06 Nov 1994 9223372036854775807:00:00 GMT", "soon",
    ]

    @Test("each push is answered once, and with something that is recorded")
    func wire() async throws {
        try await FuzzRun.run("answers on the wire", rounds: 3) { generator, seed in
            let random = Mutex(SeededGenerator(seed: seed))
            var script = ScriptedServer.Script()
            script.react = { request in random.withLock { Self.reaction(to: request, &$0) } }
            try await ScriptedServer.run(script) { server in
                var tuning = GatewayTuning()
                tuning.breaker.failures = .max
                tuning.breaker.credentialFaults = .max
                try await Rig.run(server.url, tuning: tuning, configure: { $0.deadline = .seconds(2) }) { rig in
                    let answers = await rig.volley(60, inFlight: 12) { Rig.push(Self.platforms[$0 % 3]) }
                    #expect(answers.count == 60 && answers.values.allSatisfy { $0.count == 1 }, "seed \(seed)")
                    for answer in answers.values.joined() {
                        var outcome = PushOutcome()
                        outcome.retryAtMs = answer.retryAtMs
                        outcome.tokenDiedAtMs = answer.tokenDiedAtMs
                        outcome.sentAtMs = answer.sentAtMs
                        #expect(throws: Never.self, "seed \(seed): \(answer)") { try outcome.bound() }
                    }
                    #expect(rig.gateway.inFlight == 0, "seed \(seed)")
                }
            }
        }
    }

    private static func reaction(
        to request: ScriptedServer.Request, _ generator: inout SeededGenerator
    ) -> ScriptedServer.Reaction {
        let status = generator.pick([200, 200, 204, 302, 400, 401, 403, 410, 429, 500, 503, 599, 999])
        var body = generator.pick(bodies)
        if generator.chance(3) { body = generator.withOddNumbers(body) }
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: return .reset(generator.pick([.refusedStream, .internalError, .cancel, .enhanceYourCalm]))
        case 1:
            var head: HPACKHeaders = [":status": "\(status)"]
            for wait in waits { head.add(name: "retry-after", value: wait) }
            return .blocks([[":status": "103"], head], body: body, trailers: ["apns-id": "x", "retry-after": "5"])
        default:
            var headers = ["retry-after": generator.pick(waits)]
            if generator.chance(4) { headers["apns-unique-id"] = String(repeating: "u", count: 300) }
            return .answer(status: status, headers: headers, body: body)
        }
    }
}
