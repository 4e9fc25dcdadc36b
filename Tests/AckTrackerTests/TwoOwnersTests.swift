import ChallengeModel
import Testing

@testable import AckTracker

/// Every interleaving of two owners of one partition (a zombie that never noticed, and its successor), a dispatcher and
/// a phone, on a log of one challenge. The owners run the real fold; reading, asking for the ends and firing follow
/// ``TrackedPartition``. The zombie has no fence here, which is worse than what can happen.
struct TwoOwners {
    static let maxAttempts = 3

    struct Owner {
        var fold: Fold
        var read = Positions()
        /// What has to be read before anything fires: the catch-up.
        var catchUp: Positions
        /// The ends as asked, and whether a receipt was on the log then.
        var ends: Positions?
        var sawReceipt = false
        /// Its own record, which it reads back before it decides again.
        var written: Int64 = 0
    }

    struct World {
        var log: [[Fact]] = [[], [], [], []]
        /// In the order of writing: for the key and for messages.
        var story: [String] = []
        var owners: [Owner]
        var dispatcherRead = 0
        var pushed: [DispatchID] = []
        var hasReceipt = false
        var ticks = 0
        var nowMs: Int64 { Int64(ticks) * 20_000 + 1_000 }

        /// The fold follows from what was read; ``FoldOrderTests`` shows that the order of reading does not count.
        var key: [Int64] {
            var key: [Int64] = [Int64(ticks), Int64(dispatcherRead), hasReceipt ? 1 : 0]
            for owner in owners {
                for topic in Positions.indices { key.append(owner.read[topic]) }
                for topic in Positions.facts { key.append(owner.ends?[topic] ?? -1) }
                key.append(owner.sawReceipt ? 1 : 0)
                key.append(owner.written)
            }
            for entry in story { key.append(Int64(entry.hashValue)) }
            return key
        }
    }

    let base: FoldStory
    var seen: Set<[Int64]> = []
    var violations: [String] = []
    var ended = 0
    var doubled = 0

    init() {
        var policy = TrackerPolicy.test
        policy.growth = 1
        var story = FoldStory(policy: policy)
        story.redelivery.maxAttempts = UInt32(Self.maxAttempts)
        base = story
    }

    mutating func explore() {
        var world = World(owners: [])
        world.log[0].append(base.dispatch())
        world.story.append("c")
        var zombie = Owner(fold: base.fold, catchUp: Positions())
        zombie.read[0] = 0
        let successor = Owner(fold: base.fold, catchUp: Positions(1, 1, 0, 0))
        world.owners = [zombie, successor]
        // The creation's push was accepted before the story begins.
        world.log[1].append(base.outcome(.accepted, atMs: 0))
        world.pushed = [.creation]
        world.dispatcherRead = 1
        var stack = [world]
        while let world = stack.popLast() {
            guard seen.insert(world.key).inserted else { continue }
            let next = successors(of: world)
            if next.isEmpty { end(world) }
            stack.append(contentsOf: next)
        }
    }

    private mutating func end(_ world: World) {
        ended += 1
        if !world.hasReceipt, world.pushed.count != Self.maxAttempts {
            violations.append("no receipt, and \(world.pushed.count) pushes: \(world.story)")
        }
    }

    private mutating func successors(of world: World) -> [World] {
        var next: [World] = []
        for index in world.owners.indices {
            for topic in Positions.indices where world.owners[index].read[topic] < Int64(world.log[topic].count) {
                // The facts before the rest, as TrackerRuntime reads them: challenges first until it has caught up.
                if topic > 0, world.owners[index].read[0] < world.owners[index].catchUp[0] { continue }
                var after = world
                let fact = world.log[topic][Int(world.owners[index].read[topic])]
                after.owners[index].read[topic] += 1
                _ = after.owners[index].fold.apply(
                    fact, recordedMs: FoldStory.epochMs, at: FoldStory.time(world.nowMs, isReplay: true))
                next.append(after)
            }
            if let after = asked(world, index) { next.append(after) }
            if let after = fired(world, index) { next.append(after) }
        }
        if world.dispatcherRead < world.log[0].count { next.append(dispatched(world)) }
        if !world.hasReceipt {
            var after = world
            after.hasReceipt = true
            after.log[2].append(base.receipt(atMs: world.nowMs))
            after.story.append("receipt")
            next.append(after)
        }
        if world.ticks < 3, isQuiet(world) {
            var after = world
            after.ticks += 1
            next.append(after)
        }
        return next
    }

    /// Time goes on when everything written was read: what a slow reader does is in the interleavings within a tick.
    private func isQuiet(_ world: World) -> Bool {
        world.dispatcherRead == world.log[0].count
            && world.owners.allSatisfy { owner in
                owner.ends == nil && Positions.indices.allSatisfy { owner.read[$0] == Int64(world.log[$0].count) }
            }
            && world.owners.indices.allSatisfy { asked(world, $0) == nil }
    }

    private func asked(_ world: World, _ index: Int) -> World? {
        let owner = world.owners[index]
        guard owner.ends == nil, owner.read[0] >= owner.written,
            Positions.indices.allSatisfy({ owner.read[$0] >= owner.catchUp[$0] }),
            !owner.fold.decide(base.sid, at: FoldStory.time(world.nowMs)).isEmpty
        else { return nil }
        var after = world
        after.owners[index].ends = Positions(
            0, Int64(world.log[1].count), Int64(world.log[2].count), Int64(world.log[3].count))
        after.owners[index].sawReceipt = world.hasReceipt
        return after
    }

    private mutating func fired(_ world: World, _ index: Int) -> World? {
        let owner = world.owners[index]
        guard let ends = owner.ends, owner.read.haveReached(ends) else { return nil }
        var after = world
        after.owners[index].ends = nil
        for action in owner.fold.decide(base.sid, at: FoldStory.time(world.nowMs)) {
            switch action {
            case .dispatch(let dispatch, _):
                if owner.sawReceipt { violations.append("\(dispatch.dispatchID) after the receipt: \(world.story)") }
                if world.story.contains(dispatch.dispatchID) { doubled += 1 }
                after.log[0].append(base.dispatch(dispatch.dispatchID))
                after.story.append(dispatch.dispatchID)
                after.owners[index].written = Int64(after.log[0].count)
            case .escalate:
                after.log[1].append(base.escalation())
                after.story.append("escalation")
            case .carry: break
            }
        }
        return after
    }

    /// Pushes each (challenge, device, dispatch id) once.
    private mutating func dispatched(_ world: World) -> World {
        var after = world
        guard case .dispatch(_, let id, _) = world.log[0][world.dispatcherRead].kind, !world.pushed.contains(id) else {
            after.dispatcherRead += 1
            return after
        }
        after.pushed.append(id)
        if after.pushed.count > Self.maxAttempts { violations.append("\(after.pushed.count) pushes: \(world.story)") }
        after.log[1].append(base.outcome(.accepted, id.description, atMs: world.nowMs))
        after.story.append("accepted \(id)")
        after.dispatcherRead += 1
        return after
    }
}

@Suite("Two owners of one partition", .timeLimit(.minutes(10)))
struct TwoOwnersTests {
    @Test(
        "in every interleaving: at most one push per attempt, at most so many attempts, none after a receipt was seen")
    func exhaustive() {
        var model = TwoOwners()
        model.explore()
        print("two owners: \(model.seen.count) states, \(model.ended) ends, \(model.doubled) times the same t<n> twice")
        #expect(model.violations.isEmpty, "\(model.violations.prefix(3))")
        #expect(model.seen.count > 1_000 && model.ended > 0)
        #expect(model.doubled > 0, "the two never wrote the same: the model shows nothing")
    }
}
