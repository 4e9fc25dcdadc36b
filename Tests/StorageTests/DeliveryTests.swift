import ChallengeModel
import Challenges
import Foundation
import GRDB
import Storage
import TestSupport
import Testing
import Wire

@Suite("Delivery facts, by several processes", .timeLimit(.minutes(5)))
struct DeliveryTests {
    @Test("two processes and a restart tell one incident once; the brake counts what both have seen")
    func twoProcesses() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let first = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            let second = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            let world = try await World(first)
            let people = try await world.people(12, "two")
            _ = try await world.drain()
            // Each record reaches both, as around a rebalance.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, person) in people.enumerated() {
                    let facts = [
                        world.outcome(
                            person.challenge, person.factor, .credentialFault, reason: "InvalidProviderToken"),
                        world.outcome(person.challenge, person.factor, .tokenDead, dispatch: "t1"),
                    ]
                    for store in [first, second] {
                        for fact in facts {
                            group.addTask {
                                _ = try await store.recordDelivery(fact, nowMs: World.t0 + Int64(index))
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            await first.close()
            await second.close()
            let third = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            let more = world.outcome(
                people[0].challenge, people[0].factor, .credentialFault, dispatch: "t2", reason: "InvalidProviderToken")
            #expect(try await third.recordDelivery(more, nowMs: World.t0 + 60_000))
            let rows = try await third.outbox.claimOutbox(owner: "t", limit: 1000, leaseMs: 1000, nowMs: World.t0)
            let events = try rows.filter { $0.topic == .events }.map { try CloudEvent(json: $0.value) }
            #expect(events.count { $0.type == "beckon.credential.failed" } == 1)
            #expect(events.count { $0.type == "beckon.tokens.dying" } == 1)
            #expect(events.count { $0.type == "beckon.factor.unreachable" } == 9)
            for person in people {
                let factor = try await third.factor(keyID: person.factor.keyID.rawValue)
                #expect(factor?.unreachableAtMs == nil)
                #expect(try await third.deliveryFacts(of: person.challenge).count >= 2)
            }
            await third.close()
        }
    }

    @Test("a fact that an older version kept, with a time that cannot be, hides none of the others")
    func impossibleTime() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            let world = try await World(store)
            let person = try await world.people(1, "one")[0]
            #expect(try await store.recordDelivery(world.outcome(person.challenge, person.factor, .accepted), nowMs: 1))
            var receipt = Receipt()
            receipt.factorSid = person.factor.sid.rawValue
            receipt.receivedAtMs = .min
            let (sid, bytes) = (person.challenge.rawValue, Data(receipt.protobufBytes()))
            try await DatabaseQueue(path: path).write { database in
                try database.execute(
                    sql: "INSERT INTO delivery_facts (challenge_sid, id, fact) VALUES (?, 'r old', ?)",
                    arguments: [sid, bytes])
            }
            let facts = try await store.deliveryFacts(of: person.challenge)
            guard facts.count == 1, case .outcome = facts[0] else {
                Issue.record("expected the outcome alone: \(facts)")
                return
            }
            await store.close()
        }
    }

    @Test(
        "a fact costs a fraction of what a challenge costs, by statements of one index look-up each",
        .enabled(if: Speed.isMeasured, "BECKON_MEASURE is not set; StatementTests looks at the statements"))
    func cost() async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "store.db").path, keys: TestKeys.both, limits: .none, logger: quiet)
            let world = try await World(store)
            let factor = try await world.factor()
            func time(_ body: @escaping @Sendable (Int) async throws -> Void) async throws -> Duration {
                let start = ContinuousClock.now
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for index in 0..<1500 { group.addTask { try await body(index) } }
                    try await group.waitForAll()
                }
                return ContinuousClock.now - start
            }
            let creations = try await time { _ in _ = try await world.challenge() }
            let all = try await store.challenges(
                ChallengeFilter(account: world.account, service: world.service, identity: world.identity),
                page: PageRequest(size: 1000), nowMs: World.t0)
            let known = all.items.map(\.sid)
            let facts = try await time { index in
                _ = try await store.recordDelivery(
                    world.outcome(
                        known[index % known.count], factor, .accepted, dispatch: "t\(index / known.count + 1)"),
                    nowMs: World.t0)
            }
            // Three facts a challenge are a small load.
            Speed.expect(
                "facts-beside-creations",
                ["creations_ms": creations.inMilliseconds, "facts_ms": facts.inMilliseconds], facts < creations * 3)
            await store.close()
        }
    }
}
