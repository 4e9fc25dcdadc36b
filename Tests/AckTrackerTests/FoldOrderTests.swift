import ChallengeModel
import Foundation
import TestSupport
import Testing

@testable import AckTracker

@Suite("Fold: 100,000 orders", .timeLimit(.minutes(10)))
struct FoldOrderTests {
    /// All that is held of a challenge, in a form that does not depend on the order in which devices and texts became
    /// known.
    struct Canon: Hashable {
        struct OneDevice: Hashable {
            var factor: PackedSID
            var sets: [UInt64]
            var times: [UInt32]
            var numbers: [Int64]
            var texts: [String]
        }

        var numbers: [Int64]
        var texts: [String]
        var devices: [OneDevice]
        var plans: [HeldPlan]

        init?(_ sid: PackedSID, _ fold: Fold) {
            guard let slot = fold.table.find(sid) else { return nil }
            let held = fold.table[slot]
            let cold = ColdRecord(packed: held.cold)
            numbers = [
                held.expiresAtMs, held.expiresLocalMs, Int64(held.lifeMs), Int64(held.latencyMs), Int64(held.firstAt),
                Int64(held.maxAttempts), Int64(held.lastAttempt), held.confirmAny ? 1 : 0, Int64(held.flags.rawValue),
            ]
            texts = [
                fold.names[held.account], fold.names[held.service], cold.entity, cold.identity, cold.message,
                cold.traceparent,
            ]
            devices = (0..<held.deviceCount).map { position in
                let device = held[position]
                return OneDevice(
                    factor: device.factor, sets: [device.addressed, device.answered, device.used, device.background],
                    times: [
                        device.failedAt, device.usedAt, device.firstUsedAt, device.deferredAt, device.retryAt,
                        device.faultAt, device.diedAt, device.receivedAt, device.changedAt,
                    ],
                    numbers: [
                        device.registeredAtMs, device.deadRegisteredAtMs, Int64(device.backgroundBudget),
                        Int64(device.platform), Int64(device.environment), Int64(device.flags.rawValue),
                        Int64(device.death.rawValue), device.isTargetFromChange ? 1 : 0, device.hasTarget ? 1 : 0,
                    ],
                    texts: [
                        fold.names[device.app], fold.names[device.credential], fold.names[device.detail],
                        position < cold.pushTokens.count ? cold.pushTokens[position] : "",
                    ])
            }.sorted { ($0.factor.high, $0.factor.low) < ($1.factor.high, $1.factor.low) }
            plans = [60_000, 170_000, 290_000].map { fold.plan(held, nowMs: FoldStory.epochMs + $0) }
        }
    }

    /// Overridden with `BECKON_ORDER_SEED`.
    static let seed = ProcessInfo.processInfo.environment["BECKON_ORDER_SEED"].flatMap { UInt64($0) } ?? 20_261_124

    @Test(
        "any order of the same facts, some of them twice, ends in the same state and the same plans", arguments: 0..<5)
    func orders(which: Int) throws {
        let count = 20_000
        print("orders of story \(which): \(count), seed \(Self.seed)")
        var story = FoldStory(devices: 3)
        let facts = FoldReplayTests.facts(story, which)
        var generator = SeededGenerator(seed: Self.seed &+ UInt64(which))
        let now = FoldStory.time(60_000, isReplay: true)
        var canon: Canon?
        for number in 0..<count {
            story.fold = Fold(policy: .test)
            var order = facts
            for _ in 0..<2 { if let again = facts.randomElement(using: &generator) { order.append(again) } }
            order.shuffle(using: &generator)
            for fact in order { _ = story.fold.apply(fact, recordedMs: FoldStory.epochMs + 10_000, at: now) }
            let found = try #require(Canon(story.sid, story.fold))
            if canon == nil { canon = found }
            guard found == canon else {
                Issue.record("order \(number) of story \(which), seed \(Self.seed), ends in another state")
                return
            }
        }
    }
}
