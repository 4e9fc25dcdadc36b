import ChallengeModel
import ChallengeStore
import Foundation
import Testing

extension ConformanceCase {
    private static let defaults = ChallengeLimits()

    private static func limit(_ world: World, _ new: NewChallenge? = nil, nowMs: Int64) async throws -> LimitRefusal? {
        do {
            var new = new ?? world.newChallenge()
            new.expiresAtMs = nowMs + 300_000
            _ = try await world.store.create(new, nowMs: nowMs)
            return nil
        } catch StoreError.limited(let refusal) { return refusal }
    }

    static let policies = [
        ConformanceCase(
            "20 creations of an identity at once, then one more every 15 s, told once a minute",
            limits: {
                var limits = ChallengeLimits()
                limits.pending = 0
                return limits
            }()
        ) { world in
            _ = try await world.factor()
            _ = try await world.factor(identity: "Person-0002")
            for left in (0..<20).reversed() {
                let made = try await world.store.create(world.newChallenge(), nowMs: World.t0)
                #expect(made.allowance?.remaining == left && made.allowance?.limit == 20)
            }
            _ = try await world.drain()
            let refused = try await limit(world, nowMs: World.t0)
            #expect(refused?.kind == .creations && refused?.retryAfterSeconds == 15)
            #expect(refused?.allowance == CreationAllowance(limit: 20, remaining: 0, resetSeconds: 300))
            #expect(try await limit(world, nowMs: World.t0 + 14_999) != nil)
            #expect(try await limit(world, nowMs: World.t0 + 15_000) == nil, "one more after 15 s")
            #expect(try await limit(world, nowMs: World.t0 + 15_000) != nil)
            #expect(try await limit(world, nowMs: World.t0 + 70_000) == nil, "three more by then, and")
            #expect(try await limit(world, nowMs: World.t0 + 70_000) == nil)
            #expect(try await limit(world, nowMs: World.t0 + 70_000) == nil)
            #expect(try await limit(world, nowMs: World.t0 + 70_000) != nil, "no fourth")
            let others = world.newChallenge(identity: "Person-0002")
            #expect(try await limit(world, others, nowMs: World.t0 + 15_000) == nil, "nobody else's")
            let told = try await world.drain().events.filter { $0.type == "beckon.limit.reached" }
            #expect(told.count == 2, "at once and a minute later")
            #expect(told.first?.data["limit"] == "creations")
            #expect(Set(told.map(\.id)).count == 2)
            // After a clock that was far ahead nobody is locked out for longer than an empty bucket takes.
            #expect(try await limit(world, nowMs: World.t0 - 86_400_000) != nil)
            #expect(try await limit(world, nowMs: World.t0 - 86_400_000 + 15_000) != nil)
        },
        ConformanceCase("10 challenges of an identity pending, and one more when one of them ends", limits: defaults) {
            world in
            let factor = try await world.factor()
            var made: [Challenge] = []
            for _ in 0..<10 { made.append(try await world.challenge()) }
            let refused = try await limit(world, nowMs: World.t0 + 1000)
            #expect(refused?.kind == .pending && refused?.retryAfterSeconds == 299)
            _ = try await world.store.answer(world.answer(made[0].sid, factor.sid), nowMs: World.t0 + 2000)
            #expect(try await limit(world, nowMs: World.t0 + 3000) == nil)
            #expect(try await limit(world, nowMs: World.t0 + 3000)?.kind == .pending)
            // Those that the clock has ended count no more, whether the sweep was there or not.
            #expect(try await limit(world, nowMs: World.t0 + 300_000) == nil)
        },
        ConformanceCase(
            "3 denials in 10 minutes stop pushes for 15: creation works, a resend does not", limits: defaults
        ) { world in
            let factor = try await world.factor()
            for minute in 0..<3 {
                let atMs = World.t0 + Int64(minute) * 290_000
                var new = world.newChallenge(expiresAtMs: atMs + 60_000)
                new.fallbacks = ["sms"]
                let challenge = try await world.store.create(new, nowMs: atMs).challenge
                #expect(challenge.quietUntilMs == nil)
                _ = try await world.store.answer(
                    world.answer(challenge.sid, factor.sid, approve: false), nowMs: atMs + 1000)
            }
            let deniedMs = World.t0 + 581_000
            let quietUntilMs = deniedMs + 900_000
            _ = try await world.drain()
            var new = world.newChallenge(expiresAtMs: deniedMs + 600_000)
            new.fallbacks = ["sms", "totp"]
            let quiet = try await world.store.create(new, nowMs: deniedMs + 1000)
            #expect(quiet.outcome == .created && quiet.challenge.quietUntilMs == quietUntilMs)
            let left = try await world.drain()
            #expect(left.values(.challenges).isEmpty, "nothing is pushed")
            let event = try left.event(.limitReached)
            #expect(event.data["limit"] == "quiet" && event.data["fallbacks"] == .list(["sms", "totp"]))
            #expect(event.data["challenge_sid"] == .string(quiet.challenge.sid.rawValue))
            let pending = ChallengeFilter(account: world.account, service: world.service, identity: world.identity)
            let found = try await world.store.challenges(pending, page: PageRequest(), nowMs: deniedMs + 2000)
            #expect(found.items.last?.sid == quiet.challenge.sid, "polling finds it")
            await #expect(throws: StoreError.self) {
                _ = try await world.store.createNotification(challenge: quiet.challenge.sid, nowMs: deniedMs + 3000)
            }
            _ = try await world.store.answer(world.answer(quiet.challenge.sid, factor.sid), nowMs: deniedMs + 4000)
            var later = world.newChallenge(expiresAtMs: quietUntilMs + 60_000)
            #expect(try await world.store.create(later, nowMs: quietUntilMs).challenge.quietUntilMs == nil)
            #expect(try await world.drain().dispatches.count == 1, "pushed again afterwards")
            // Denials that are further apart than the window stop nothing.
            for hour in 1..<4 {
                let atMs = quietUntilMs + Int64(hour) * 3_600_000
                later.expiresAtMs = atMs + 60_000
                let challenge = try await world.store.create(later, nowMs: atMs).challenge
                #expect(challenge.quietUntilMs == nil)
                _ = try await world.store.answer(world.answer(challenge.sid, factor.sid, approve: false), nowMs: atMs)
            }
        },
        ConformanceCase("an action has one live challenge: reused while it asks the same and has time, else superseded")
        { world in
            _ = try await world.factor()
            var new = world.newChallenge(expiresAtMs: World.t0 + 200_000)
            new.actionKey = "attempt-1"
            let first = try await world.store.create(new, nowMs: World.t0)
            #expect(first.outcome == .created && first.challenge.actionID != nil)
            #expect(first.challenge.actionID?.contains("attempt") == false)
            _ = try await world.drain()
            func again(_ nowMs: Int64, _ change: (inout NewChallenge) -> Void = { _ in }) async throws
                -> ChallengeCreation
            {
                var same = new
                same.expiresAtMs = nowMs + 200_000
                change(&same)
                return try await world.store.create(same, nowMs: nowMs)
            }
            let soon = try await again(World.t0 + 1000)
            #expect(soon.outcome == .reused && soon.challenge.sid == first.challenge.sid)
            #expect(soon.challenge.expiresAtMs == first.challenge.expiresAtMs, "never prolonged")
            #expect(try await world.drain().rows.isEmpty, "the push may still be confirmed")
            #expect(try await again(World.t0 + 10_000).outcome == .reused)
            let resent = try await world.drain().dispatches
            #expect(resent.count == 1 && resent.allSatisfy { $0.dispatchID.hasPrefix("n:") })
            #expect(
                try await again(World.t0 + 150_000).outcome == .reused,
                "a quarter of its life is left, to the millisecond")
            _ = try await world.drain()
            let second = try await again(World.t0 + 150_001)
            #expect(second.outcome == .created && second.challenge.actionID == first.challenge.actionID)
            let left = try await world.drain()
            #expect(try left.resolutions.map(\.status) == [.superseded])
            #expect(try left.eventTypes == ["challenge.superseded", "challenge.created"])
            #expect(try await world.stored(first.challenge.sid)?.status == .superseded)
            let changes: [(String, (inout NewChallenge) -> Void)] = [
                ("message", { $0.message = "Pay?" }), ("fields", { $0.fields = "[]" }),
                ("hidden details", { $0.hiddenDetails = nil }),
                ("number", { $0.requiresNumber = true }), ("session", { $0.requiresSession = true }),
            ]
            var nowMs = World.t0 + 160_000
            for (what, change) in changes {
                let before = try await again(nowMs)
                let after = try await again(nowMs + 1000, change)
                #expect(after.outcome == .created && after.challenge.sid != before.challenge.sid, "\(what)")
                #expect(after.challenge.actionID == before.challenge.actionID)
                nowMs += 10_000
            }
            // Another action, identity and a closed challenge of the same action: new ones, known by another name.
            #expect(
                try await again(nowMs) { $0.actionKey = "attempt-2" }.challenge.actionID != first.challenge.actionID)
            let last = try await again(nowMs)
            _ = try await world.store.cancelChallenge(last.challenge.sid, nowMs: nowMs)
            let afresh = try await again(nowMs)
            #expect(afresh.outcome == .created && afresh.challenge.actionID != last.challenge.actionID)
            // Over by the clock, and not swept: it ends as expired.
            _ = try await world.drain()
            let late = try await again(nowMs + 300_000)
            #expect(late.outcome == .created)
            #expect(try await world.stored(afresh.challenge.sid)?.status == .expired)
        },
        ConformanceCase("a request over Kafka for which a live challenge stands is told which, and keeps its id") {
            world in
            _ = try await world.factor()
            var new = world.newChallenge(requestID: "r-1")
            new.actionKey = "attempt-1"
            let first = try await world.store.create(new, nowMs: World.t0)
            _ = try await world.drain()
            new.requestID = "r-2"
            let second = try await world.store.create(new, nowMs: World.t0 + 1000)
            #expect(second.outcome == .reused && second.challenge.sid == first.challenge.sid)
            let told = try await world.drain().rows.filter { $0.topic == .events }.map {
                try CloudEvent(json: $0.value)
            }
            #expect(told.map(\.type) == ["beckon.challenge.created"])
            #expect(told.first?.data["request_id"] == .string("r-2"))
            #expect(told.first?.subject == first.challenge.sid.rawValue)
            #expect(told.first?.id.hasSuffix("/r-2/challenge.created") == true, "not the id of the first one's event")
            _ = try await world.store.cancelChallenge(first.challenge.sid, nowMs: World.t0 + 2000)
            let again = try await world.store.create(new, nowMs: World.t0 + 3000)
            #expect(again.outcome == .repeated && again.challenge.sid == first.challenge.sid, "no second question")
        },
        ConformanceCase("a challenge of an action that a new device was not asked by is superseded") { world in
            _ = try await world.factor()
            var new = world.newChallenge()
            new.actionKey = "attempt-1"
            let first = try await world.store.create(new, nowMs: World.t0)
            let phone = try await world.factor()
            let second = try await world.store.create(new, nowMs: World.t0 + 1000)
            #expect(second.outcome == .created && second.challenge.sid != first.challenge.sid)
            #expect(try await world.stored(first.challenge.sid)?.status == .superseded)
            #expect(try await world.stored(second.challenge.sid, factor: phone.sid) != nil)
        },
        ConformanceCase("a challenge of an action is pushed again three times at most") { world in
            _ = try await world.factor()
            var new = world.newChallenge(expiresAtMs: World.t0 + 3_000_000)
            new.actionKey = "attempt-1"
            for step in 0..<6 { _ = try await world.store.create(new, nowMs: World.t0 + Int64(step) * 10_000) }
            #expect(try await world.drain().dispatches.count == 4)
        },
        ConformanceCase("an idempotency key makes one challenge in 24 hours, also when the first is under way") {
            world in
            _ = try await world.factor()
            var new = world.newChallenge()
            new.idempotency = IdempotencyKey(key: [1, 2, 3], request: [4])
            let request = new
            let made = try await withThrowingTaskGroup(of: ChallengeCreation.self) { group in
                for _ in 0..<50 { group.addTask { try await world.store.create(request, nowMs: World.t0) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(made.filter { $0.outcome == .created }.count == 1)
            #expect(made.filter { $0.outcome == .replayed }.count == 49)
            #expect(Set(made.map(\.challenge.sid)).count == 1)
            #expect(try await world.drain().dispatches.count == 1)
            new.idempotency = IdempotencyKey(key: [1, 2, 3], request: [5])
            let other = new
            #expect(
                await storeError { _ = try await world.store.create(other, nowMs: World.t0) } == .idempotencyConflict)
            // As it is now.
            _ = try await world.store.cancelChallenge(made[0].challenge.sid, nowMs: World.t0 + 1)
            #expect(try await world.store.create(request, nowMs: World.t0 + 2).challenge.status == .canceled)
            let dayMs = World.t0 + 86_400_000
            #expect(try await world.store.create(request, nowMs: dayMs - 1).outcome == .replayed)
            var late = request
            late.expiresAtMs = dayMs + 1000
            #expect(try await world.store.create(late, nowMs: dayMs).outcome == .created)
            // Refusals are not kept.
            var nobody = world.newChallenge(identity: "Person-0009")
            nobody.idempotency = IdempotencyKey(key: [7], request: [8])
            let asked = nobody
            #expect(await storeError { _ = try await world.store.create(asked, nowMs: World.t0) } == .notFound(.entity))
            _ = try await world.factor(identity: "Person-0009")
            #expect(try await world.store.create(asked, nowMs: World.t0).outcome == .created)
        },
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
            // With both rules a token that was used beside a wrong number is still good for that challenge, and no other.
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
        ConformanceCase("the sweep takes old idempotency keys and session tokens away") { world in
            _ = try await world.factor()
            var new = world.newChallenge()
            new.idempotency = IdempotencyKey(key: [1], request: [1])
            let made = try await world.store.create(new, nowMs: World.t0).challenge
            _ = try await world.store.createSessionToken(
                NewSessionToken(account: world.account, service: world.service, identity: world.identity),
                nowMs: World.t0)
            _ = try await world.store.expireDue(limit: 100, nowMs: World.t0 + 86_399_999)
            let key = IdempotencyKey(key: [1], request: [1])
            #expect(try await world.store.challenge(madeWith: key, nowMs: World.t0)?.sid == made.sid)
            _ = try await world.store.expireDue(limit: 100, nowMs: World.t0 + 86_400_000)
            #expect(try await world.store.challenge(madeWith: key, nowMs: World.t0) == nil)
        },
    ]
}
