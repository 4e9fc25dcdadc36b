import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

extension ConformanceCase {
    private static let defaults = ChallengeLimits()
    private static let denialsOnly: ChallengeLimits = {
        var limits = ChallengeLimits.none
        limits.denials = 3
        return limits
    }()

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
            "3 denials silence what is pending: nothing of it is pushed until the quiet is over and a resend asks",
            limits: denialsOnly
        ) { world in
            let phone = try await world.factor(token: "old")
            let tablet = try await world.factor(.fcm)
            func attempt(_ number: Int, requestID: String? = nil) -> NewChallenge {
                var new = world.newChallenge(expiresAtMs: World.t0 + 3_600_000, requestID: requestID)
                new.actionKey = "attempt-\(number)"
                new.fallbacks = ["sms"]
                return new
            }
            var made: [ChallengeSID] = []
            for number in 0..<10 {
                made.append(try await world.store.create(attempt(number), nowMs: World.t0).challenge.sid)
            }
            _ = try await world.factor(identity: "Person-0002")
            _ = try await world.challenge(identity: "Person-0002")
            func deny(_ sid: ChallengeSID, nowMs: Int64) async throws -> Drained {
                _ = try await world.drain()
                _ = try await world.store.answer(world.answer(sid, phone.sid, approve: false), nowMs: nowMs)
                return try await world.drain()
            }
            for sid in made[..<2] { #expect(try await deny(sid, nowMs: World.t0 + 1000).deviceChanges.isEmpty) }
            let deniedMs = World.t0 + 2000
            let silenced = try await deny(made[2], nowMs: deniedMs).deviceChanges
            let told = Set(silenced.map { [$0.challengeSid, $0.factorSid] })
            #expect(
                told
                    == Set(made[3...].flatMap { sid in [phone, tablet].map { [sid.rawValue, $0.sid.rawValue] } }),
                "each device of the seven, nobody else's")
            #expect(silenced.count == 14 && silenced.allSatisfy(\.gone))

            // Another denial, a push token, a resend, the same action over HTTP and Kafka bring nothing back.
            let again = try await deny(made[3], nowMs: deniedMs + 1000)
            #expect(again.values(.challenges).isEmpty, "they are silent already")
            let quietUntilMs = deniedMs + 1000 + defaults.quietMs
            var change = FactorChange()
            change.pushToken = "new"
            _ = try await world.store.updateFactor(phone.sid, change, nowMs: deniedMs + 2000)
            let refused = await storeError {
                _ = try await world.store.createNotification(challenge: made[4], nowMs: deniedMs + 3000)
            }
            guard case .limited(let refusal) = refused else {
                Issue.record("\(String(describing: refused))")
                return
            }
            #expect(refusal.kind == .quiet && refusal.fallbacks == ["sms"])
            #expect(refusal.retryAfterSeconds == 898)
            #expect(refusal.allowance == CreationAllowance(limit: 3, remaining: 0, resetSeconds: 898))
            let reused = try await world.store.create(attempt(5), nowMs: deniedMs + 20_000)
            #expect(reused.outcome == .reused && reused.challenge.sid == made[5])
            #expect(reused.challenge.quietUntilMs == quietUntilMs)
            let requested = try await world.store.create(attempt(6, requestID: "r-1"), nowMs: deniedMs + 70_000)
            #expect(requested.outcome == .reused && requested.challenge.quietUntilMs == quietUntilMs)
            let fresh = try await world.store.create(attempt(20, requestID: "r-2"), nowMs: deniedMs + 80_000)
            #expect(fresh.outcome == .created)
            let meanwhile = try await world.drain()
            #expect(meanwhile.values(.challenges).isEmpty, "nothing is pushed")
            let limits = try meanwhile.events.filter { $0.type == "beckon.limit.reached" }
            #expect(
                limits.map { $0.data["challenge_sid"] } == [
                    .string(made[4].rawValue), .string(made[6].rawValue), .string(fresh.challenge.sid.rawValue),
                ], "the resend, not the reuse within its minute, the reuse after it, and the creation")
            #expect(Set(limits.map(\.id)).count == 3)
            #expect(limits.allSatisfy { $0.data["limit"] == "quiet" && $0.data["fallbacks"] == .list(["sms"]) })
            let created = try meanwhile.events.filter { $0.type == "beckon.challenge.created" }
            #expect(created.map { $0.data["request_id"] } == ["r-1", "r-2"])
            let until = EventValue.string(Timestamp.rfc3339Seconds(quietUntilMs))
            #expect(created.allSatisfy { $0.data["quiet_until"] == until }, "over Kafka nothing else tells")

            // Polling shows them, to each device.
            for factor in [phone, tablet] {
                var filter = ChallengeFilter(account: world.account, service: world.service, identity: world.identity)
                filter.factor = factor.sid
                filter.status = .pending
                let list = try await world.store.challenges(filter, page: PageRequest(), nowMs: quietUntilMs - 1)
                #expect(Set(list.items.map(\.sid)) == Set(made[4...] + [fresh.challenge.sid]))
                #expect(list.items.allSatisfy { $0.quietUntilMs == quietUntilMs })
            }

            // Then a resend, or its action asked for again, brings the devices back before it pushes; once.
            _ = try await world.store.createNotification(challenge: made[4], nowMs: quietUntilMs)
            _ = try await world.store.create(attempt(5), nowMs: quietUntilMs)
            let back = try await world.drain()
            #expect(
                back.values(.challenges).map(\.key)
                    == [made[4], made[4], made[4], made[5], made[5], made[5]].map(\.rawValue))
            for (index, record) in try back.challengeRecords.enumerated() {
                switch (index % 3, record.kind) {
                case (0...1, .deviceChanged(let changed)): #expect(changed.hasTarget && !changed.gone)
                case (2, .dispatch(let dispatch)):
                    #expect(Set(dispatch.targets.map(\.factorSid)) == [phone.sid.rawValue, tablet.sid.rawValue])
                    #expect(dispatch.targets.contains { $0.pushToken == "new" })
                default: Issue.record("record \(index): \(String(describing: record.kind))")
                }
            }
            #expect(try await world.stored(made[4])?.quietUntilMs == nil)
            _ = try await world.store.createNotification(challenge: made[4], nowMs: quietUntilMs + 1000)
            let twice = try await world.drain()
            #expect(try twice.dispatches.count == 1 && twice.deviceChanges.isEmpty)
            change.pushToken = "newer"
            _ = try await world.store.updateFactor(phone.sid, change, nowMs: quietUntilMs + 2000)
            #expect(try await world.drain().deviceChanges.count == 7, "a push token is told again")
        },
        ConformanceCase(
            "a clock that is set back makes the quiet of an identity no longer than it can be",
            limits: denialsOnly
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
