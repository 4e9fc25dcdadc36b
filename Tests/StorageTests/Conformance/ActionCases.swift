import ChallengeModel
import Challenges
import Foundation
import Testing

extension ConformanceCase {
    static let actions = [
        ConformanceCase("an action has one live challenge: reused while it asks the same and has time, else superseded")
        { world in
            let phone = try await world.factor()
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
                ("factor", { $0.factor = phone.sid }), ("number", { $0.requiresNumber = true }),
                ("session", { $0.requiresSession = true }),
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
        ConformanceCase("a short challenge of an action stands for another while thirty seconds of it are left") {
            world in
            _ = try await world.factor()
            var new = world.newChallenge(expiresAtMs: World.t0 + 60_000)
            new.actionKey = "attempt-1"
            let first = try await world.store.create(new, nowMs: World.t0)
            new.expiresAtMs = World.t0 + 120_000
            #expect(try await world.store.create(new, nowMs: World.t0 + 30_000).outcome == .reused)
            let second = try await world.store.create(new, nowMs: World.t0 + 30_001)
            #expect(second.outcome == .created && second.challenge.sid != first.challenge.sid)
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
        ConformanceCase("the sweep takes old idempotency keys and session tokens away") { world in
            _ = try await world.factor()
            var new = world.newChallenge()
            new.idempotency = IdempotencyKey(key: [1], request: [1])
            let made = try await world.store.create(new, nowMs: World.t0).challenge
            _ = try await world.store.createSessionToken(
                NewSessionToken(account: world.account, service: world.service, identity: world.identity),
                nowMs: World.t0)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 86_399_999)
            let key = IdempotencyKey(key: [1], request: [1])
            #expect(try await world.store.challenge(madeWith: key, nowMs: World.t0)?.sid == made.sid)
            _ = try await world.store.sweep(limit: 100, nowMs: World.t0 + 86_400_000)
            #expect(try await world.store.challenge(madeWith: key, nowMs: World.t0) == nil)
        },
    ]
}
