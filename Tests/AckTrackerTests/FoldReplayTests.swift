import ChallengeModel
import TestSupport
import Testing

@testable import AckTracker

@Suite("Fold: order and replay")
struct FoldReplayTests {
    /// What a fold says of the challenge, in a form that does not depend on the order of devices.
    struct Verdict: Hashable {
        var plan: HeldPlan
        var decisions: [[String]]
        var flags: UInt8

        init(_ story: FoldStory, _ fold: Fold) throws {
            let slot = try #require(fold.table.find(story.sid))
            plan = fold.plan(fold.table[slot], nowMs: FoldStory.epochMs + 60_000)
            flags = fold.table[slot].flags.rawValue
            decisions = stride(from: 60_000, through: 310_000, by: 2_500).map { ms in
                fold.decide(story.sid, at: FoldStory.time(Int64(ms))).map { action in
                    switch action {
                    case .dispatch(let dispatch, _):
                        let targets = dispatch.targets.map { "\($0.factorSid) \($0.pushToken) \($0.backgroundBudget)" }
                        return "\(dispatch.dispatchID) \(targets.sorted())"
                    case .escalate(let escalation, _):
                        let devices = escalation.devices.map {
                            "\($0.factorSid) \($0.reason) \($0.detail) \($0.attempts) \($0.lastAttemptAtMs)"
                        }
                        return "escalate \(escalation.attempts) \(devices.sorted()) \(escalation.advice)"
                    case .carry(let carried, _): return "carry \(carried.attempts)"
                    }
                }
            }
        }
    }

    static func facts(_ story: FoldStory, _ which: Int) -> [Fact] {
        let resend = NotificationSID(bytes: (0..<16).map { UInt8($0) })
        var facts = [
            story.dispatch(), story.dispatch("t1", devices: [0, 2]), story.dispatch("n:\(resend)"),
            story.outcome(.accepted, atMs: 100),
            story.outcome(.deferred, device: 1, retryAtMs: 50_000, reason: "busy", atMs: 150),
            story.outcome(.tokenDead, device: 2, reason: "Unregistered", atMs: 200),
            story.outcome(.accepted, "t1", atMs: 9_000),
            story.outcome(.accepted, "t1", device: 2, atMs: 9_100, registeredAtMs: 5),
            story.outcome(.unknown, "n:\(resend)", atMs: 20_000),
            story.outcome(.accepted, "n:\(resend)", device: 1, atMs: 20_100),
            story.outcome(.rejected, "n:\(resend)", device: 2, kind: .background, atMs: 20_200, registeredAtMs: 5),
            story.registered(device: 2, token: "ffff", registeredAtMs: 5),
        ]
        switch which {
        case 1: facts += [story.receipt(device: 0, shown: .no, atMs: 21_000), story.gone(device: 1)]
        case 2: facts += [story.receipt(device: 1, channel: .poll, atMs: 30_000), story.escalation()]
        case 3: facts += [story.resolution(), story.receipt(device: 2, atMs: 1_000)]
        case 4:
            facts += [
                story.outcome(
                    .credentialFault, "n:\(resend)", device: 2, reason: "Forbidden", atMs: 20_300, registeredAtMs: 5)
            ]
        default: break
        }
        return facts
    }

    @Test(
        "the same facts in any order, some twice, give the same state and the same decisions", arguments: 0..<5,
        [false, true])
    func permutations(which: Int, isPushedOnce: Bool) throws {
        var story = FoldStory(devices: 3)
        story.isPushedOnce = isPushedOnce
        let facts = Self.facts(story, which)
        var generator = SeededGenerator(seed: UInt64(which) + 1)
        var verdicts: Set<Verdict> = []
        for _ in 0..<400 {
            var fold = Fold(policy: .test)
            let repeated = facts + (0..<3).compactMap { _ in facts.randomElement(using: &generator) }
            for fact in repeated.shuffled(using: &generator) {
                _ = fold.apply(fact, recordedMs: FoldStory.epochMs + 10_000, at: FoldStory.time(60_000, isReplay: true))
            }
            verdicts.insert(try Verdict(story, fold))
        }
        #expect(verdicts.count == 1)
    }

    @Test("a decision is due exactly when the plan says so", arguments: 0..<5)
    func consistency(which: Int) throws {
        var story = FoldStory(devices: 3)
        var generator = SeededGenerator(seed: UInt64(which) + 77)
        for fact in Self.facts(story, which).shuffled(using: &generator) {
            _ = story.fold.apply(
                fact, recordedMs: FoldStory.epochMs + 10_000, at: FoldStory.time(60_000, isReplay: true))
            let slot = try #require(story.fold.table.find(story.sid))
            for ms in stride(from: Int64(0), through: 800_000, by: 1_777) {
                let now = FoldStory.time(ms)
                let plan = story.fold.plan(story.fold.table[slot], nowMs: now.localMs)
                guard plan.forgetAt > now.localMs else { continue }
                let isDue = (plan.next ?? .max) <= now.localMs
                #expect(story.fold.decide(story.sid, at: now).isEmpty != isDue, "after \(ms) ms")
            }
        }
    }

    @Test("after a restart the latency runs from the outcome's own time, and what is due is spread out")
    func restart() throws {
        var policy = TrackerPolicy()
        policy.restartSpreadMs = 5_000
        var fold = Fold(policy: policy)
        let now = FoldStory.time(20_000, isReplay: true)
        for _ in 0..<500 {
            let story = FoldStory()
            for fact in [story.dispatch(), story.outcome(.accepted, atMs: 100)] {
                _ = fold.apply(fact, recordedMs: FoldStory.epochMs + 100, at: now)
            }
        }
        fold.start(at: now)
        var counts: [Int] = []
        for ms in stride(from: Int64(21_000), through: 26_000, by: 1_000) {
            counts.append(fold.due(at: FoldStory.time(ms)).count)
        }
        #expect(counts.reduce(0, +) == 500)
        #expect(counts.prefix(5).allSatisfy { $0 > 40 && $0 < 200 }, "\(counts)")
    }

    @Test("carried state goes on where it was: attempts, receipts, dead tokens, numbers")
    func carried() throws {
        var policy = TrackerPolicy.test
        policy.carryAfterMs = 100_000
        var story = FoldStory(devices: 3, policy: policy)
        story.lifeMs = 3_000_000
        story.at(0, story.dispatch())
        story.at(
            10, story.outcome(.accepted), story.outcome(.tokenDead, device: 1), story.outcome(.accepted, device: 2))
        story.at(20, story.receipt(device: 2))
        story.at(9_000, story.dispatch("t1", devices: [0]), story.outcome(.accepted, "t1"))
        let (state, fact) = try story.carried(100_000)
        #expect(state.attempts == 2 && state.lastAttemptNumber == 1 && state.devices.count == 3)
        // A new owner that reads only what came after.
        var next = story
        next.fold = Fold(policy: policy)
        _ = next.fold.apply(story.outcome(.accepted, "t1"), recordedMs: 0, at: FoldStory.time(100_000, isReplay: true))
        _ = next.fold.apply(fact, recordedMs: FoldStory.epochMs + 100_000, at: FoldStory.time(100_000, isReplay: true))
        let slot = try #require(next.fold.table.find(story.sid))
        let held = next.fold.table[slot]
        let position = try #require(held.position(of: story.packed(story.factors[0].rawValue)))
        #expect(held[position].attempts == 2, "the outcome read again is not counted twice")
        let due = try #require(next.fold.plan(held, nowMs: 0).pushAt) - FoldStory.epochMs
        let push = try #require(next.pushes(due))
        #expect(push.dispatchID == "t2" && push.targets.map(\.factorSid) == [story.factors[0].rawValue])
        // The owner itself learns nothing from it but that it need not be read again.
        let before = story.plan.pushAt
        _ = story.fold.apply(fact, recordedMs: 0, at: FoldStory.time(100_000))
        #expect(story.plan.pushAt == before)
        #expect(try #require(story.plan.carryAt) > FoldStory.epochMs + 190_000)
    }

    @Test("a device whose pushes were all deferred is pushed again after its state was carried")
    func carriedDeferred() throws {
        var policy = TrackerPolicy.test
        policy.carryAfterMs = 100_000
        var story = FoldStory(policy: policy)
        story.lifeMs = 3_000_000
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.deferred, retryAtMs: 200_000))
        let fact = try story.carried(100_000).fact
        story.fold = Fold(policy: policy)
        _ = story.fold.apply(fact, recordedMs: FoldStory.epochMs + 100_000, at: FoldStory.time(100_000, isReplay: true))
        let due = try #require(story.pushAt)
        #expect(due > 100_000 && story.pushes(due)?.dispatchID == "t1")
    }

    @Test("a closed challenge is carried as closed, and stays so")
    func carriedClosed() throws {
        var policy = TrackerPolicy.test
        policy.carryAfterMs = 100_000
        var story = FoldStory(policy: policy)
        story.lifeMs = 3_000_000
        story.at(0, story.dispatch(), story.resolution())
        let (state, fact) = try story.carried(100_000)
        #expect(state.closed)
        var fold = Fold(policy: policy)
        let now = FoldStory.time(100_001, isReplay: true)
        _ = fold.apply(fact, recordedMs: 0, at: now)
        _ = fold.apply(story.dispatch("t1"), recordedMs: 0, at: now)
        #expect(fold.decide(story.sid, at: FoldStory.time(150_000)).isEmpty)
        let slot = try #require(fold.table.find(story.sid))
        #expect(fold.plan(fold.table[slot], nowMs: 0).forgetAt == FoldStory.epochMs + 3_060_000)
    }

    @Test("an expected latency that was learnt is used where the challenge asks for it")
    func adaptive() throws {
        var model = LatencyModel(policy: .test)
        let key = LatencyModel.Key(platform: UInt8(Platform.apn.rawValue), app: "com.example")
        for _ in 0..<19 { model.record(key, latencyMs: 3_000) }
        #expect(model.expectedLatencyMs(key) == nil, "not enough is known")
        for _ in 0..<30 { model.record(key, latencyMs: 3_000) }
        let learnt = try #require(model.expectedLatencyMs(key))
        #expect((2_700...3_400).contains(learnt), "\(learnt)")
        for isAdaptive in [true, false] {
            var story = FoldStory()
            story.redelivery.adaptive = isAdaptive
            story.fold.expectedLatencies = model.expected
            story.at(0, story.dispatch(), story.outcome(.accepted))
            #expect(try #require(story.pushAt) >= (isAdaptive ? Int64(learnt) : 8_000))
            #expect(try #require(story.pushAt) <= (isAdaptive ? Int64(learnt) * 11 / 10 : 8_800))
        }
    }

    @Test("a first push that is slower than the second counts as well, once; a poll and another push do not")
    func latency() throws {
        var story = FoldStory()
        story.at(0, story.dispatch(), story.outcome(.accepted))
        story.at(9_000, story.dispatch("t1"))
        story.at(9_100, story.outcome(.accepted, "t1"))
        func latencies(_ ms: Int64, _ fact: Fact) -> [Int64] {
            story.fold.apply(fact, recordedMs: 0, at: FoldStory.time(ms)).compactMap {
                if case .latency(_, let latency) = $0 { latency } else { nil }
            }
        }
        #expect(latencies(9_500, story.receipt(channel: .poll)).isEmpty)
        #expect(latencies(10_000, story.receipt(dispatch: "t1")).isEmpty)
        #expect(latencies(12_000, story.receipt(dispatch: "c")) == [12_000])
        #expect(latencies(13_000, story.receipt(dispatch: "c")).isEmpty)
    }
}
