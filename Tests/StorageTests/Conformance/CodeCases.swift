import ChallengeModel
import Challenges
import Testing

extension World {
    static let seed = Array("12345678901234567890".utf8)

    func newCodeFactor(
        secret: [UInt8] = seed, code: OneTimeCode = OneTimeCode(), identity: String? = nil
    ) -> NewCodeFactor {
        NewCodeFactor(
            account: account, service: service, identity: identity ?? self.identity, friendlyName: "app",
            secret: secret, code: code)
    }

    /// A factor of type `totp`, verified by the code of `nowMs`.
    func codeFactor(secret: [UInt8] = seed, code: OneTimeCode = OneTimeCode(), nowMs: Int64 = t0) async throws
        -> CodeFactor
    {
        let factor = try await store.createCodeFactor(newCodeFactor(secret: secret, code: code), nowMs: nowMs)
        return try await store.verifyCodeFactor(
            factor.sid, code: code.code(step: code.step(atMs: nowMs), secret: secret), nowMs: nowMs)
    }

    func codeChallenge(_ factor: FactorSID, code: String? = nil, nowMs: Int64 = t0) async throws -> Challenge {
        var new = newChallenge(factor: factor, expiresAtMs: nowMs + 300_000)
        new.message = ""
        new.fields = "[]"
        new.hiddenDetails = nil
        return try await store.createCodeChallenge(new, code: code, nowMs: nowMs)
    }

    func code(atMs nowMs: Int64, _ code: OneTimeCode = OneTimeCode()) -> String {
        code.code(step: code.step(atMs: nowMs), secret: Self.seed)
    }
}

extension ConformanceCase {
    static let codes: [ConformanceCase] = [
        ConformanceCase("a code approves a pushed challenge with the fall-back totp, once, and nothing else") { world in
            _ = try await world.factor()
            var asked = world.newChallenge()
            asked.fallbacks = ["sms", "totp"]
            func answer(_ challenge: ChallengeSID, _ code: String, atMs: Int64 = World.t0) async -> StoreError? {
                await storeError {
                    _ = try await world.store.answerWithCode(challenge, code: code, metadata: nil, nowMs: atMs)
                }
            }
            let first = try await world.store.create(asked, nowMs: World.t0).challenge.sid
            let later = World.t0 + 60_000
            #expect(await answer(first, world.code(atMs: World.t0)) == .noCodeFactor)
            _ = try await world.store.createCodeFactor(
                world.newCodeFactor(secret: Array("another-secret-of-20".utf8)), nowMs: World.t0)
            #expect(await answer(first, world.code(atMs: World.t0)) == .noCodeFactor, "it is not verified")
            let factor = try await world.codeFactor()
            #expect(
                await answer(first, world.code(atMs: World.t0)) == .codeRefused, "its verification used this code up")
            _ = try await world.drain()
            let approved = try await world.store.answerWithCode(
                first, code: world.code(atMs: later), metadata: nil, nowMs: later)
            #expect(approved.status == .approved && approved.responder == factor.sid && approved.signedAnswer == nil)
            let drained = try await world.drain()
            let resolution = try #require(try drained.resolutions.first)
            #expect(resolution.status == .approved && resolution.factorSid == factor.sid.rawValue)
            #expect(try drained.eventTypes == ["challenge.approved"])
            #expect(await answer(first, world.code(atMs: later), atMs: later) == .alreadyResponded)
            // Another challenge with the same code, one without the fall-back, one with a number, one with a session
            // rule.
            let next = later + 60_000
            let second = try await world.store.create(asked, nowMs: later).challenge.sid
            #expect(await answer(second, world.code(atMs: later), atMs: later) == .codeRefused)
            for edit: (inout NewChallenge) -> Void in [
                { $0.fallbacks = ["sms"] }, { $0.requiresNumber = true }, { $0.requiresSession = true },
            ] {
                var other = asked
                edit(&other)
                let sid = try await world.store.create(other, nowMs: next).challenge.sid
                #expect(await answer(sid, world.code(atMs: next), atMs: next) == .codeRefused)
                #expect(try await world.stored(sid)?.status == .pending)
            }
        },
        ConformanceCase(
            "five wrong codes in a row close the fall-back over all challenges; a right one before begins anew"
        ) { world in
            _ = try await world.factor()
            _ = try await world.codeFactor()
            var asked = world.newChallenge()
            asked.fallbacks = ["totp"]
            var nowMs = World.t0
            func guess(_ code: String) async throws -> StoreError? {
                let made = try await world.store.create(asked, nowMs: nowMs)
                return await storeError {
                    _ = try await world.store.answerWithCode(
                        made.challenge.sid, code: code, metadata: nil, nowMs: nowMs)
                }
            }
            for _ in 0..<4 { #expect(try await guess("000000") == .codeRefused) }
            nowMs += 60_000
            #expect(try await guess(world.code(atMs: nowMs)) == nil)
            for _ in 0..<5 { #expect(try await guess("000000") == .codeRefused) }
            nowMs += 60_000
            #expect(try await guess(world.code(atMs: nowMs)) == .limit(.factorAttempts))
        },
        ConformanceCase("a step that was accepted is never good again, wherever it was used") { world in
            let factor = try await world.codeFactor()
            #expect(factor.isVerified && factor.sid.isCodeFactor)
            let used = world.code(atMs: World.t0)
            let first = try await world.codeChallenge(factor.sid, code: used)
            #expect(first.status == .pending)
            #expect(
                await storeError {
                    _ = try await world.store.answerCodeChallenge(first.sid, code: used, metadata: nil, nowMs: World.t0)
                } == .codeRefused)
            let next = World.t0 + 30_000
            let answered = try await world.store.answerCodeChallenge(
                first.sid, code: world.code(atMs: next), metadata: #"{"a":"b"}"#, nowMs: next)
            #expect(answered.status == .approved && answered.responder == factor.sid && answered.signedAnswer == nil)
            #expect(answered.respondedAtMs == next && answered.metadata == #"{"a":"b"}"#)
            // A step before the accepted one, although within the skew.
            #expect(try await world.codeChallenge(factor.sid, code: used, nowMs: next).status == .pending)
            #expect(
                await storeError {
                    _ = try await world.store.answerCodeChallenge(
                        first.sid, code: world.code(atMs: next + 30_000), metadata: nil, nowMs: next + 30_000)
                } == .alreadyResponded)
        },
        ConformanceCase("a step that was used stays used when the steps change their length") { world in
            let factor = try await world.codeFactor(code: OneTimeCode(timeStep: 60))
            var change = CodeFactorChange()
            change.code = OneTimeCode(timeStep: 20, skew: 2)
            let changed = try await world.store.updateCodeFactor(factor.sid, change, nowMs: World.t0)
            #expect(changed.code == change.code)
            let code = OneTimeCode(timeStep: 20, skew: 2)
            // The accepted minute began at t0: its three new steps are used.
            for second in [0, 20, 40] as [Int64] {
                let at = World.t0 + second * 1000
                #expect(
                    try await world.codeChallenge(factor.sid, code: world.code(atMs: at, code), nowMs: at).status
                        == .pending)
            }
            let after = World.t0 + 60_000
            #expect(
                try await world.codeChallenge(factor.sid, code: world.code(atMs: after, code), nowMs: after).status
                    == .approved)
        },
        ConformanceCase("five wrong codes close a challenge and a factor; they are counted although they are refused") {
            world in
            let factor = try await world.codeFactor()
            let challenge = try await world.codeChallenge(factor.sid, code: "000000")
            let later = World.t0 + 30_000
            let good = world.code(atMs: later)
            for _ in 0..<4 {
                #expect(
                    await storeError {
                        _ = try await world.store.answerCodeChallenge(
                            challenge.sid, code: "000000", metadata: nil, nowMs: later)
                    } == .codeRefused)
            }
            #expect(
                await storeError {
                    _ = try await world.store.answerCodeChallenge(
                        challenge.sid, code: good, metadata: nil, nowMs: later)
                } == .limit(.challengeAttempts))
            let fresh = try await world.store.createCodeFactor(
                world.newCodeFactor(secret: Array("another secret of 20".utf8)), nowMs: World.t0)
            for _ in 0..<5 {
                #expect(
                    await storeError {
                        _ = try await world.store.verifyCodeFactor(fresh.sid, code: "000000", nowMs: World.t0)
                    } == .codeRefused)
            }
            #expect(
                await storeError {
                    _ = try await world.store.verifyCodeFactor(fresh.sid, code: "000000", nowMs: World.t0)
                } == .limit(.factorAttempts))
        },
        ConformanceCase("challenges of a factor are counted by the hour and by the day") { world in
            let hour: Int64 = 3_600_000
            let long = try await world.codeFactor()
            for _ in 0..<50 { _ = try await world.codeChallenge(long.sid) }
            func refused(_ factor: FactorSID, at nowMs: Int64) async -> StoreError? {
                await storeError { _ = try await world.codeChallenge(factor, nowMs: nowMs) }
            }
            #expect(await refused(long.sid, at: World.t0 + hour - 1) == .limit(.challengeCreations))
            for _ in 0..<50 { _ = try await world.codeChallenge(long.sid, nowMs: World.t0 + hour) }
            #expect(await refused(long.sid, at: World.t0 + 3 * hour) == .limit(.challengeCreations))
            #expect(await refused(long.sid, at: World.t0 + 24 * hour) == nil)
            let secret = Array("a secret of its own!".utf8)
            let short = try await world.codeFactor(secret: secret, code: OneTimeCode(codeLength: 4))
            for _ in 0..<10 { _ = try await world.codeChallenge(short.sid) }
            #expect(await refused(short.sid, at: World.t0 + 23 * hour) == .limit(.challengeCreations))
            #expect(await refused(short.sid, at: World.t0 + 24 * hour) == nil)
        },
        ConformanceCase("nothing of a one-time code reaches dispatchers; its events have its type") { world in
            let factor = try await world.codeFactor()
            let challenge = try await world.codeChallenge(factor.sid)
            _ = try await world.store.answerCodeChallenge(
                challenge.sid, code: world.code(atMs: World.t0 + 30_000), metadata: nil, nowMs: World.t0 + 30_000)
            _ = try await world.codeChallenge(factor.sid)
            _ = try await world.store.sweep(limit: 10, nowMs: World.t0 + 400_000)
            #expect(try await world.store.deleteCodeFactor(factor.sid, nowMs: World.t0 + 400_000))
            let left = try await world.drain()
            #expect(left.rows.allSatisfy { $0.topic == .events })
            #expect(
                try left.eventTypes == [
                    "factor.created", "factor.verified", "challenge.created", "challenge.approved", "challenge.created",
                    "challenge.expired", "factor.deleted",
                ])
            #expect(try left.events.allSatisfy { $0.data["factor_type"] == "totp" })
        },
        ConformanceCase("an entity has a hundred one-time codes at most, and takes them with it") { world in
            for number in 0..<100 {
                _ = try await world.store.createCodeFactor(
                    world.newCodeFactor(secret: Array("secret \(number) of twenty".utf8)), nowMs: World.t0)
            }
            func create(at nowMs: Int64) async -> StoreError? {
                await storeError {
                    _ = try await world.store.createCodeFactor(
                        world.newCodeFactor(secret: Array("one secret too many".utf8)), nowMs: nowMs)
                }
            }
            #expect(await create(at: World.t0) == .limit(.codeFactors))
            let listed = try await world.store.allFactors(
                account: world.account, service: world.service, identity: world.identity, page: PageRequest(size: 1000))
            #expect(listed.items.count == 100)
            // Those of the same secret are told apart from others; a push factor counts for the day too.
            #expect(await storeError { _ = try await world.factor() } == .limit(.factorCreations))
            // Never verified, a day later: gone.
            #expect(await create(at: World.t0 + 24 * 3_600_000) == nil)
            #expect(
                try await world.store.deleteEntity(
                    account: world.account, service: world.service, identity: world.identity,
                    nowMs: World.t0 + 24 * 3_600_000))
            _ = try await world.store.createEntity(
                account: world.account, service: world.service, identity: world.identity, nowMs: World.t0 + 1)
            let none = try await world.store.allFactors(
                account: world.account, service: world.service, identity: world.identity, page: PageRequest())
            #expect(none.items.isEmpty)
        },
        ConformanceCase("the secret of a one-time code stands once in an identity") { world in
            _ = try await world.codeFactor()
            #expect(
                await storeError { _ = try await world.store.createCodeFactor(world.newCodeFactor(), nowMs: World.t0) }
                    == .conflict(.factor))
            _ = try await world.store.createCodeFactor(world.newCodeFactor(identity: "someone-else"), nowMs: World.t0)
        },
        ConformanceCase("a fan-out goes to push factors only") { world in
            _ = try await world.codeFactor()
            #expect(await storeError { _ = try await world.challenge() } == .noVerifiedFactor(fallbacks: []))
            let phone = try await world.factor()
            _ = try await world.drain()
            _ = try await world.challenge()
            #expect(try await world.drain().dispatches.flatMap(\.targets).map(\.factorSid) == [phone.sid.rawValue])
        },
        ConformanceCase("a resend lives for its own time, never past its challenge") { world in
            let factor = try await world.factor()
            let challenge = try await world.challenge(factor: factor.sid)
            _ = try await world.drain()
            for (ttl, end) in [(0, World.t0 + 1), (60, World.t0 + 60_001), (300, challenge.expiresAtMs)] {
                _ = try await world.store.createNotification(
                    challenge: challenge.sid, ttlSeconds: ttl, nowMs: World.t0 + 1)
                let dispatch = try #require(try await world.drain().dispatches.first)
                #expect(dispatch.pushExpiresAtMs == end && dispatch.expiresAtMs == challenge.expiresAtMs)
            }
        },
        ConformanceCase("webhooks are their service's, a hundred at most, and go with it") { world in
            let store = world.store
            func new(_ name: String) -> NewWebhook {
                NewWebhook(
                    account: world.account, service: world.service, friendlyName: name, eventTypes: ["*"],
                    url: "https://example.com/")
            }
            let first = try await store.createWebhook(new("0"), nowMs: World.t0)
            #expect(first.isEnabled && first.version == "v2")
            for number in 1..<100 { _ = try await store.createWebhook(new("\(number)"), nowMs: World.t0) }
            #expect(
                await storeError { _ = try await store.createWebhook(new("100"), nowMs: World.t0) }
                    == .limit(.webhooks))
            let page = try await store.webhooks(
                account: world.account, service: world.service, page: PageRequest(size: 60))
            let rest = try await store.webhooks(
                account: world.account, service: world.service, page: PageRequest(size: 60, after: page.next))
            #expect(page.items.count == 60 && rest.items.count == 40 && rest.next == nil)
            var change = WebhookChange()
            change.eventTypes = ["challenge.approved"]
            change.isEnabled = false
            let changed = try await store.updateWebhook(
                first.sid, account: world.account, service: world.service, change, nowMs: World.t0 + 5)
            #expect(changed.eventTypes == ["challenge.approved"] && !changed.isEnabled && changed.url == first.url)
            #expect(
                try await store.webhook(first.sid, account: world.account, service: world.service) == changed)
            let stranger = try await store.createAccount(nowMs: World.t0).sid
            #expect(try await store.webhook(first.sid, account: stranger, service: world.service) == nil)
            #expect(
                try await store.deleteWebhook(first.sid, account: stranger, service: world.service, nowMs: World.t0)
                    == false)
            #expect(
                try await store.deleteWebhook(
                    first.sid, account: world.account, service: world.service, nowMs: World.t0))
            #expect(try await store.deleteService(world.service, account: world.account, nowMs: World.t0))
            #expect(
                try await store.webhook(page.items[1].sid, account: world.account, service: world.service) == nil)
            _ = try await store.sweep(limit: 100, nowMs: World.t0)
        },
    ]
}
