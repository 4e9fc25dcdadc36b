import ChallengeModel
import Challenges
import Foundation
import Testing

extension ConformanceCase {
    private static let guessLimits: ChallengeLimits = {
        var limits = ChallengeLimits.none
        limits.denials = 1
        limits.factorGuesses = 4
        limits.identityGuesses = 6
        limits.guessWindowMs = 3_600_000
        return limits
    }()

    static let approvals = [
        ConformanceCase("an approval needs its number; the third wrong one denies, and a denial needs none") { world in
            let factor = try await world.factor()
            func challenge(_ digits: Int = 2) async throws -> (Challenge, String) {
                var new = world.newChallenge()
                new.requiresNumber = true
                new.numberDigits = digits
                let made = try await world.store.create(new, nowMs: World.t0).challenge
                return (made, try #require(try world.store.number(of: made)))
            }
            func answer(_ sid: ChallengeSID, _ number: String?, jwt: String = UUID().uuidString) async -> StoreError? {
                var answer = world.answer(sid, factor.sid, jwt: jwt)
                answer.number = number
                let sent = answer
                return await storeError { _ = try await world.store.answer(sent, nowMs: World.t0 + 1) }
            }
            for digits in 2...6 {
                let (made, number) = try await challenge(digits)
                #expect(number.utf8.count == digits && number.utf8.allSatisfy { (48...57).contains($0) })
                #expect(try await world.stored(made.sid).map { try world.store.number(of: $0) } == number)
                #expect(await answer(made.sid, number) == nil)
                let closed = try #require(try await world.stored(made.sid))
                #expect(closed.status == .approved && closed.sealedNumber == nil)
                #expect(closed.responderKey == factor.publicKey)
            }
            let (made, number) = try await challenge()
            let wrong = number == "00" ? "01" : "00"
            #expect(await answer(made.sid, nil) == .approvalRefused(.numberMissing))
            #expect(await answer(made.sid, wrong) == .approvalRefused(.numberWrong(left: 2)))
            #expect(await answer(made.sid, number + "0") == .approvalRefused(.numberWrong(left: 1)))
            #expect(try await world.stored(made.sid)?.status == .pending)
            _ = try await world.drain()
            #expect(await answer(made.sid, "") == .approvalRefused(.numberWrongDenied))
            let denied = try #require(try await world.stored(made.sid))
            #expect(denied.status == .denied && denied.responder == factor.sid && denied.signedAnswer == nil)
            let left = try await world.drain()
            #expect(try left.resolutions.map(\.status) == [.denied])
            #expect(try left.event(.challengeDenied).data["reason"] == "wrong_number")
            #expect(await answer(made.sid, number) == .alreadyResponded)
            let (refused, _) = try await challenge()
            _ = try await world.store.answer(
                world.answer(refused.sid, factor.sid, approve: false), nowMs: World.t0 + 1)
            #expect(try await world.stored(refused.sid)?.status == .denied)
        },
        ConformanceCase(
            "wrong numbers are bounded per factor and identity over time, also while it is quiet; a denial always counts",
            limits: guessLimits
        ) { world in
            let (one, two) = (try await world.factor(), try await world.factor())
            func challenge() async throws -> (Challenge, String) {
                var new = world.newChallenge(expiresAtMs: World.t0 + 3_600_000)
                new.requiresNumber = true
                let made = try await world.store.create(new, nowMs: World.t0).challenge
                return (made, try #require(try world.store.number(of: made)))
            }
            func answer(_ sid: ChallengeSID, _ factor: Factor, _ number: String, atMs: Int64) async -> StoreError? {
                var answer = world.answer(sid, factor.sid, jwt: UUID().uuidString)
                answer.number = number
                let sent = answer
                return await storeError { _ = try await world.store.answer(sent, nowMs: atMs) }
            }
            // Two challenges of three tries each use a factor's four guesses up. The second denial makes it quiet.
            let (first, _) = try await challenge()
            for left in [2, 1] {
                #expect(
                    await answer(first.sid, one, "x", atMs: World.t0)
                        == .approvalRefused(.numberWrong(left: left)))
            }
            #expect(await answer(first.sid, one, "x", atMs: World.t0) == .approvalRefused(.numberWrongDenied))
            let (second, number) = try await challenge()
            #expect(second.quietUntilMs != nil, "one denial is enough here")
            #expect(
                await answer(second.sid, one, "x", atMs: World.t0 + 1000) == .approvalRefused(.numberWrong(left: 2)))
            _ = try await world.drain()
            let closed = StoreError.approvalRefused(.numbersClosed(untilMs: World.t0 + 3_600_000))
            #expect(await answer(second.sid, one, number, atMs: World.t0 + 2000) == closed, "a right one too")
            #expect(try await world.stored(second.sid)?.status == .pending)
            #expect(try await world.drain().event(.limitReached).data["limit"] == "numbers")
            // Another device of the person has its own four, of six for both.
            #expect(
                await answer(second.sid, two, "x", atMs: World.t0 + 2000) == .approvalRefused(.numberWrong(left: 1)))
            #expect(await answer(second.sid, two, "x", atMs: World.t0 + 2000) == .approvalRefused(.numberWrongDenied))
            let (third, right) = try await challenge()
            #expect(await answer(third.sid, two, right, atMs: World.t0 + 3000) == closed)
            _ = try await world.store.answer(
                world.answer(third.sid, two.sid, approve: false), nowMs: World.t0 + 3000)
            #expect(try await world.stored(third.sid)?.status == .denied)
            // An hour later the first ones are out of the span.
            var new = world.newChallenge(expiresAtMs: World.t0 + 7_200_000)
            new.requiresNumber = true
            let later = try await world.store.create(new, nowMs: World.t0 + 3_600_000).challenge
            let laterNumber = try #require(try world.store.number(of: later))
            #expect(await answer(later.sid, two, laterNumber, atMs: World.t0 + 3_600_000) == nil)
        },
        ConformanceCase("a session token is good for one person, device and challenge, until its end") { world in
            let factor = try await world.factor()
            let second = try await world.factor()
            let stranger = try await world.factor(identity: "Person-0002")
            func token(
                _ identity: String? = nil, factor: FactorSID? = nil, ttl: Int = 120
            ) async throws -> String {
                try await world.store.createSessionToken(
                    NewSessionToken(
                        account: world.account, service: world.service, identity: identity ?? world.identity,
                        factor: factor, ttlSeconds: ttl), nowMs: World.t0)
            }
            func challenge() async throws -> ChallengeSID {
                var new = world.newChallenge()
                new.requiresSession = true
                return try await world.store.create(new, nowMs: World.t0).challenge.sid
            }
            func answer(
                _ sid: ChallengeSID, _ token: String?, by answerer: FactorSID? = nil, nowMs: Int64 = World.t0 + 1
            ) async -> StoreError? {
                var answer = world.answer(sid, answerer ?? factor.sid, jwt: UUID().uuidString)
                answer.sessionToken = token
                let sent = answer
                return await storeError { _ = try await world.store.answer(sent, nowMs: nowMs) }
            }
            let sid = try await challenge()
            let wrong = StoreError.approvalRefused(.sessionWrong)
            #expect(await answer(sid, nil) == .approvalRefused(.sessionMissing))
            #expect(await answer(sid, "nonsense") == wrong)
            let others = try await token("Person-0002")
            #expect(await answer(sid, others) == wrong, "another person's")
            let bound = try await token(factor: second.sid)
            #expect(await answer(sid, bound) == wrong, "another device's")
            let old = try await token(ttl: 30)
            #expect(await answer(sid, old, nowMs: World.t0 + 30_000) == wrong, "over")
            #expect(try await world.stored(sid)?.status == .pending)
            let good = try await token()
            #expect(await answer(sid, good) == nil)
            let next = try await challenge()
            #expect(await answer(next, good) == wrong, "used")
            #expect(await answer(next, bound, by: second.sid) == nil)
            let denied = try await challenge()
            _ = try await world.store.answer(world.answer(denied, factor.sid, approve: false), nowMs: World.t0 + 1)
            let unknown = NewSessionToken(account: world.account, service: world.service, identity: "Person-0099")
            #expect(
                await storeError { _ = try await world.store.createSessionToken(unknown, nowMs: World.t0) }
                    == .notFound(.entity))
            let foreign = NewSessionToken(
                account: world.account, service: world.service, identity: world.identity, factor: stranger.sid)
            #expect(
                await storeError { _ = try await world.store.createSessionToken(foreign, nowMs: World.t0) }
                    == .notFound(.factor))
            // With both rules a token that was used beside a wrong number is still good for that challenge, and no
            // other.
            var new = world.newChallenge()
            (new.requiresSession, new.requiresNumber) = (true, true)
            let both = try await world.store.create(new, nowMs: World.t0).challenge
            let number = try #require(try world.store.number(of: both))
            let session = try await token()
            var attempt = world.answer(both.sid, factor.sid, jwt: "1")
            (attempt.sessionToken, attempt.number) = (session, number == "00" ? "01" : "00")
            let mistyped = attempt
            #expect(
                await storeError { _ = try await world.store.answer(mistyped, nowMs: World.t0 + 1) }
                    == .approvalRefused(.numberWrong(left: 2)))
            #expect(await answer(next, session) != nil)
            attempt.number = number
            let right = attempt
            #expect(try await world.store.answer(right, nowMs: World.t0 + 2).status == .approved)
        },
        ConformanceCase("a challenge tightens what its service demands, and never loosens it") { world in
            _ = try await world.factor()
            var change = ServiceChange()
            change.policy = [.numberRequired(true), .numberDigits(4), .sessionRequired(true)]
            _ = try await world.store.updateService(world.service, account: world.account, change, nowMs: World.t0)
            func refusal(_ change: (inout NewChallenge) -> Void) async -> StoreError? {
                var new = world.newChallenge()
                change(&new)
                let asked = new
                return await storeError { _ = try await world.store.create(asked, nowMs: World.t0) }
            }
            #expect(await refusal { $0.requiresNumber = false } == .loosened(.number))
            #expect(await refusal { $0.numberDigits = 3 } == .loosened(.numberDigits))
            #expect(await refusal { $0.requiresSession = false } == .loosened(.session))
            var new = world.newChallenge()
            let plain = try await world.store.create(new, nowMs: World.t0).challenge
            #expect(plain.numberDigits == 4 && plain.requiresSession)
            new.numberDigits = 6
            #expect(try await world.store.create(new, nowMs: World.t0).challenge.numberDigits == 6)
            // What was asked under the former policy stays as it was asked.
            change.policy = [.numberRequired(false), .sessionRequired(false)]
            _ = try await world.store.updateService(world.service, account: world.account, change, nowMs: World.t0)
            let stored = try #require(try await world.stored(plain.sid))
            #expect(stored.numberDigits == 4 && stored.requiresSession)
        },
        ConformanceCase("a cancel is final, repeatable, and loses to an answer or the clock") { world in
            let factor = try await world.factor()
            let canceled = try await world.challenge()
            _ = try await world.drain()
            let first = try await world.store.cancelChallenge(canceled.sid, nowMs: World.t0 + 1)
            #expect(first.status == .canceled)
            #expect(try await world.store.cancelChallenge(canceled.sid, nowMs: World.t0 + 400_000) == first)
            let left = try await world.drain()
            #expect(try left.resolutions.map(\.status) == [.canceled])
            #expect(try left.eventTypes == ["challenge.canceled"])
            #expect(
                await storeError {
                    _ = try await world.store.answer(world.answer(canceled.sid, factor.sid), nowMs: World.t0 + 2)
                } == .alreadyExpired)
            let answered = try await world.challenge()
            _ = try await world.store.answer(world.answer(answered.sid, factor.sid), nowMs: World.t0 + 1)
            #expect(
                await storeError { _ = try await world.store.cancelChallenge(answered.sid, nowMs: World.t0 + 2) }
                    == .alreadyResponded)
            let expired = try await world.challenge()
            #expect(
                await storeError { _ = try await world.store.cancelChallenge(expired.sid, nowMs: World.t0 + 300_000) }
                    == .alreadyExpired)
        },
    ]
}
