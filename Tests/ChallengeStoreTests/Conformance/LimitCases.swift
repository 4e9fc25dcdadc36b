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

    static let limits = [
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
        ConformanceCase(
            "a clock that is set back makes the quiet of an identity no longer than it can be",
            limits: {
                var limits = ChallengeLimits.none
                limits.denials = 3
                return limits
            }()
        ) { world in
            let factor = try await world.factor()
            let hour: Int64 = 3_600_000
            // The clock is a day ahead, and then right.
            let aheadMs = World.t0 + 24 * hour
            let quietMs = defaults.quietMs
            for _ in 0..<3 {
                let challenge = try await world.challenge(expiresAtMs: aheadMs + 60_000, nowMs: aheadMs)
                _ = try await world.store.answer(
                    world.answer(challenge.sid, factor.sid, approve: false), nowMs: aheadMs)
            }
            let live = try await world.challenge(expiresAtMs: aheadMs + hour, nowMs: aheadMs)
            #expect(live.quietUntilMs == aheadMs + quietMs)
            func resend(at nowMs: Int64) async -> LimitRefusal? {
                let error = await storeError {
                    _ = try await world.store.createNotification(challenge: live.sid, nowMs: nowMs)
                }
                if case .limited(let refusal) = error { return refusal }
                return nil
            }
            #expect(await resend(at: World.t0)?.retryAfterSeconds == Int(quietMs / 1000))
            #expect(await resend(at: World.t0 + quietMs - 1000)?.retryAfterSeconds == 1, "it goes on to the end it got")
            let before = World.t0 + quietMs - 1
            #expect(
                try await world.challenge(expiresAtMs: before + 60_000, nowMs: before).quietUntilMs
                    == World.t0 + quietMs)
            #expect(await resend(at: World.t0 + quietMs) == nil)
            let after = World.t0 + quietMs
            let later = try await world.challenge(expiresAtMs: after + 60_000, nowMs: after)
            #expect(later.quietUntilMs == nil)
            _ = try await world.store.answer(world.answer(later.sid, factor.sid, approve: false), nowMs: after)
            #expect(
                try await world.challenge(expiresAtMs: after + 60_000, nowMs: after).quietUntilMs == nil,
                "one denial is no third one")
        },
    ]
}
