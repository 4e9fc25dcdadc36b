import ChallengeModel
import Foundation
import TestSupport
import Testing
import Wire

@testable import PushGateway
@testable import PushProviders

/// What providers and token endpoints send, spoilt: each answer means something within the documented ranges.
@Suite("Random answers", .timeLimit(.minutes(30)))
struct AnswerFuzz {
    private static let nowMs: Int64 = 1_760_000_000_000

    private static let bodies = [
        #"{"reason":"Unregistered","timestamp":1760000000000}"#, #"{"reason":"TooManyRequests"}"#,
        #"{"reason":"ExpiredProviderToken"}"#, #"{"name":"projects/p/messages/0:1"}"#, "", "<html>1</html>", "null",
        "[1]",
        #"{"error":{"code":404,"status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}"#,
        #"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"30s"}]}}"#,
        #"{"code":"80000000","msg":"Success","requestId":"157440955549500001002006"}"#, #"{"code":80100000,"msg":"x"}"#,
        #"{"code":"80300007"}"#, #"{"access_token":"ya29.a","expires_in":3599,"token_type":"Bearer"}"#,
        #"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
        #"{"error":1101,"sub_error":20044}"#,
        #"{"reason":"Unregistered","timestamp":1e400}"#, #"{"access_token":"a","expires_in":1e308}"#,
    ]

    private static let waits = [
        "", "0", "120", "-5", "Sun, 06 Nov 1994 08:49:37 GMT", "Sat, 28 Nov 2026 13:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:60 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 9223372036854775807:00:00 GMT", "Sun, 06 Nov 1994 -9223372036854775808:00:00 GMT",
        "9223372036854775807", "9223372036854775808", "1.5", "GMT",
    ]

    @Test("APNs, FCM, HMS, OAuth: every answer has a meaning, every time a bound")
    func answers() async throws {
        var dispositions: [Disposition: Int] = [:]
        var breaker = CircuitBreaker()
        var limit = InFlightLimit()
        var token = AccessTokenState()
        var steadyMs: Int64 = 0
        await FuzzRun.run("answers", rounds: 20_000) { generator, seed in
            let body = Self.body(&generator)
            let wait = Self.wait(&generator)
            let status = generator.pick([
                200, 200, 204, 400, 401, 403, 404, 410, 429, 500, 503, 0, 99, 302, 28_305,
                Int.random(in: 0...999, using: &generator),
            ])
            let registeredAtMs = generator.chance(2) ? 0 : Self.nowMs - 1000
            for verdict in [
                APNsClassification.verdict(
                    status: status, body: body, retryAfter: wait, messageID: "id", registeredAtMs: registeredAtMs,
                    nowMs: Self.nowMs),
                FCMClassification.verdict(status: status, body: body, retryAfter: wait, nowMs: Self.nowMs),
                HMSClassification.verdict(status: status, body: body, retryAfter: wait, nowMs: Self.nowMs),
            ] {
                dispositions[verdict.disposition, default: 0] += 1
                #expect((0...Verdict.longestRetryMs).contains(verdict.retryAfterMs), "seed \(seed)")
                #expect(Timestamp.range.contains(verdict.tokenDiedAtMs), "seed \(seed)")
                #expect(verdict.reason.utf8.count <= 64 && verdict.providerMessageID.utf8.count <= 512, "seed \(seed)")
                if verdict.disposition == .accepted { #expect(status == 200, "seed \(seed)") }
                let enteredMs = steadyMs
                limit.enter(nowMs: enteredMs)
                steadyMs += Int64.random(in: 0...500, using: &generator)
                limit.leave(verdict.health, enteredMs: enteredMs, nowMs: steadyMs)
                let push = ReturnRow.Push(
                    isFirst: true, expiresAtMs: steadyMs + generator.pick([1, 60_000, 3_600_000]))
                let isProbe = breaker.admit(push, nowMs: steadyMs) == .probe
                breaker.record(verdict.health, wasProbe: isProbe, nowMs: steadyMs)
                if case .open(let untilMs) = breaker.state {
                    #expect(untilMs <= steadyMs + Verdict.longestRetryMs, "seed \(seed)")
                }
            }
            let nowMs = Self.nowMs + steadyMs
            _ = token.demand(nowMs: nowMs)
            switch AccessTokenAnswer(status: status, body: body, retryAfter: wait, nowMs: nowMs) {
            case .granted(let text, let lifeMs):
                #expect((1000...86_400_000).contains(lifeMs) && !text.isEmpty, "seed \(seed)")
                token.fetched(SharedBytes(text), lifeMs: lifeMs, nowMs: nowMs)
            case .refused(let word):
                #expect(!word.isEmpty && word.unicodeScalars.count <= 300, "seed \(seed)")
                token.failed(refused: word, nowMs: nowMs, random: 0.5)
            case .unavailable(_, let retryAfterMs):
                #expect((0...86_400_000).contains(retryAfterMs ?? 0), "seed \(seed)")
                token.failed(refused: nil, nowMs: nowMs, random: 0.5)
            }
        }
        #expect(dispositions[.accepted] != nil && dispositions[.tokenDead] != nil && dispositions[.deferred] != nil)
    }

    private static func body(_ generator: inout SeededGenerator) -> [UInt8] {
        var text = generator.pick(bodies)
        if generator.chance(2) { text = generator.withOddNumbers(text, nowMs: nowMs, oneIn: 2) }
        if generator.chance(100) {
            text = String(repeating: generator.pick(["[", "{\"a\":", "{\"error\":"]), count: 20_000)
        }
        return generator.chance(3) ? generator.broken(Array(text.utf8)) : Array(text.utf8)
    }

    private static func wait(_ generator: inout SeededGenerator) -> [UInt8] {
        var text = generator.pick(waits)
        if generator.chance(2) { text = generator.withOddNumbers(text, oneIn: 2) }
        return generator.chance(4) ? generator.broken(Array(text.utf8)) : Array(text.utf8)
    }
}
