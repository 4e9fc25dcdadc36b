import Challenges
import Testing

@testable import Storage

@Suite("PostgreSQL: the pool's rules")
struct PoolStateTests {
    private typealias State = PoolState<Int>
    private let t0 = ContinuousClock.now
    private let fault = StoreFault(.unreachable, detail: "gone")

    private func open(_ count: Int, of size: Int, waiters: Int = 2) -> State {
        var options = State.Options()
        options.size = size
        options.waiters = waiters
        var state = State(options, now: t0)
        for slot in 0..<count {
            #expect(state.mayOpen(slot, now: t0) == nil)
            _ = state.opened(slot, now: t0 + .milliseconds(slot))
            #expect(isWaiting(state.next(slot, ageEndsAt: t0 + .seconds(60), now: t0)))
        }
        return state
    }

    private func isWaiting(_ next: State.Next) -> Bool { if case .wait = next { true } else { false } }
    private func isRetiring(_ next: State.Next) -> Bool { if case .retire = next { true } else { false } }
    private func job(_ next: State.Next) -> Int? { if case .job(let job) = next { job } else { nil } }
    private func refusal(_ admission: State.Admission) -> StoreError? {
        if case .refused(let error) = admission { error } else { nil }
    }
    private func next(_ state: inout State, _ slot: Int, at now: Duration = .zero) -> State.Next {
        state.next(slot, ageEndsAt: t0 + .seconds(60), now: t0 + now)
    }

    @Test("the last idle slot is woken; when none is, callers wait, a bounded number of them, a bounded time")
    func waiting() {
        var state = open(2, of: 2)
        for expected in [1, 0] {
            guard case .taken(let slot) = state.admit(expected, now: t0) else {
                Issue.record("refused")
                return
            }
            #expect(slot == expected)
        }
        #expect(job(next(&state, 1)) == 1 && job(next(&state, 0)) == 0)
        for id in [7, 8] { #expect(refusal(state.admit(id, now: t0)) == nil) }
        #expect(refusal(state.admit(9, now: t0)) == .busy)
        #expect(state.takeOverdue(now: t0 + .milliseconds(2999)).isEmpty)
        #expect(state.takeOverdue(now: t0 + .seconds(3)) == [7, 8])
    }

    @Test("within a kind who came first is served first, and the kinds take turns")
    func turns() {
        var state = open(1, of: 1, waiters: 3)
        _ = state.admit(0, .background, now: t0)
        #expect(job(next(&state, 0)) == 0)
        // A backlog of records, and creations that fill their places, before anybody else comes.
        for id in 1...5 { #expect(refusal(state.admit(id, .background, now: t0)) == nil) }
        for id in 11...13 { #expect(refusal(state.admit(id, .creation, now: t0)) == nil) }
        #expect(refusal(state.admit(14, .creation, now: t0)) == .busy, "a creation takes no place of another kind")
        for id in 21...22 { #expect(refusal(state.admit(id, .request, now: t0)) == nil) }
        #expect(refusal(state.admit(31, .relay, now: t0)) == nil)
        var order: [Int] = []
        while let id = job(next(&state, 0)) { order.append(id) }
        #expect(order == [31, 21, 11, 1, 22, 12, 2, 13, 3, 4, 5])
    }

    @Test("records and creations leave connections to what was begun before")
    func shares() {
        var state = open(8, of: 8)
        for id in 0..<10 { #expect(refusal(state.admit(id, .background, now: t0)) == nil) }
        var slot = 7
        for id in 0..<6 {
            #expect(job(next(&state, slot)) == id)
            slot -= 1
        }
        #expect(isWaiting(next(&state, slot)), "a quarter is for others than records")
        #expect(refusal(state.admit(20, .creation, now: t0)) == nil)
        #expect(job(next(&state, slot)) == 20)
        _ = state.admit(21, .creation, now: t0)
        #expect(isWaiting(next(&state, 0)), "an eighth is for others than both")
        _ = state.admit(22, .request, now: t0)
        #expect(job(next(&state, 0)) == 22)
        // The slot of a record goes on with the next, that of a request does not.
        #expect(job(next(&state, 7)) == 21, "it is the creations' turn")
        #expect(isWaiting(next(&state, 0)))
        #expect(job(next(&state, slot)) == 6)
    }

    @Test("after an outage connections are opened one after the other, and beside that at the pace")
    func reopening() {
        var state = open(4, of: 4)
        for slot in 0..<4 { _ = state.lost(slot, fault, serverIsStale: false, now: t0) }
        #expect(state.mayOpen(0, now: t0) == nil)
        for slot in 1..<4 { #expect(state.mayOpen(slot, now: t0) != nil) }
        #expect(state.opened(0, now: t0 + .milliseconds(10)) == 1)
        #expect(state.mayOpen(1, now: t0 + .milliseconds(10)) == nil, "the next at once")
        #expect(state.mayOpen(2, now: t0 + .milliseconds(10)) == t0 + .milliseconds(250))
        #expect(state.mayOpen(2, now: t0 + .milliseconds(250)) == nil)
        #expect(state.opened(1, now: t0 + .milliseconds(260)) == 3)
        #expect(state.mayOpen(3, now: t0 + .milliseconds(260)) == nil)
        #expect(state.opened(2, now: t0 + .milliseconds(270)) == nil)
        // The server is full: nobody goes on before the pause is over.
        _ = state.failedToOpen(3, fault, pause: .milliseconds(300), now: t0 + .milliseconds(270))
        #expect(state.mayOpen(3, now: t0 + .milliseconds(569)) != nil)
    }

    @Test("with the last connection the callers that wait are refused, and those that come, until one is open again")
    func outage() {
        var state = open(2, of: 2)
        _ = state.admit(1, now: t0)
        _ = state.admit(2, now: t0)
        _ = (next(&state, 0), next(&state, 1))
        _ = state.admit(3, now: t0)
        #expect(state.lost(0, fault, serverIsStale: false, now: t0).refused.isEmpty)
        #expect(state.fault == nil)
        #expect(state.lost(1, fault, serverIsStale: false, now: t0).refused == [3])
        #expect(refusal(state.admit(4, now: t0)) == .unavailable(fault))
        // One that was admitted waits on.
        #expect(state.readmit(1, until: t0 + .seconds(1)) == nil)
        // One attempt at a time, and not again before the pause is over.
        #expect(state.mayOpen(0, now: t0) == nil)
        #expect(state.mayOpen(1, now: t0) != nil)
        _ = state.failedToOpen(0, fault, pause: .milliseconds(300), now: t0)
        #expect(state.mayOpen(0, now: t0 + .milliseconds(299)) != nil)
        #expect(state.mayOpen(1, now: t0 + .milliseconds(300)) == nil)
        #expect(state.opened(1, now: t0 + .milliseconds(310)) == 0)
        #expect(state.fault == nil)
        #expect(job(next(&state, 1)) == 1)
        #expect(refusal(state.admit(5, now: t0 + .milliseconds(320))) == nil)
        #expect(state.mayOpen(0, now: t0 + .milliseconds(320)) == nil)
    }

    @Test("a demoted primary: connections that are as old or older go, younger ones stay")
    func stale() {
        var state = open(3, of: 3)
        _ = state.admit(1, now: t0)
        // Slot 1 is in the middle of three.
        _ = state.admit(2, now: t0)
        _ = (next(&state, 2), next(&state, 1))
        let (refused, wake) = state.lost(1, fault, serverIsStale: true, now: t0)
        #expect(refused.isEmpty && wake == [0])
        #expect(isRetiring(next(&state, 0)))
        #expect(isWaiting(next(&state, 2)))
    }

    @Test("a slot that goes away wakes another for those that it was to serve")
    func wakes() {
        var state = open(2, of: 2)
        _ = state.admit(1, now: t0)
        let (_, wake) = state.lost(1, fault, serverIsStale: false, now: t0)
        #expect(wake == [0])
        #expect(job(next(&state, 0)) == 1)
    }

    @Test("who asks for a COMMIT gets a connection of before, as long as there is one")
    func witness() {
        var state = open(2, of: 2)
        #expect(state.readmit(1, until: t0 + .seconds(1), openedBefore: t0 + .milliseconds(1)) == 0)
        #expect(isWaiting(next(&state, 1)), "it was opened later")
        #expect(job(next(&state, 0)) == 1)
        _ = state.lost(0, fault, serverIsStale: false, now: t0)
        #expect(state.readmit(2, until: t0 + .seconds(1), openedBefore: t0 + .milliseconds(1)) == 1)
        #expect(job(next(&state, 1)) == 2, "nobody else can tell better")
    }

    @Test("an old connection goes when nobody waits, or another one is there")
    func age() {
        var state = open(1, of: 1)
        _ = state.admit(1, now: t0)
        #expect(job(next(&state, 0, at: .seconds(61))) == 1)
        #expect(isRetiring(next(&state, 0, at: .seconds(61))))
        #expect(state.retired(0).isEmpty)
        #expect(state.mayOpen(0, now: t0 + .seconds(61)) == nil)
    }

    @Test("lanes that come, or are kept after all, are read from their beginning")
    func lanesReadAgain() {
        var mine = OutboxOwner()
        let all = Dictionary(uniqueKeysWithValues: (0..<OutboxLanes.count).map { ($0, Int64(1)) })
        mine.renewed(all, relays: 1, leaseMs: 1000, sentAt: t0)
        mine.read(lowerBound: 5, highest: 100)
        let first = mine.willWrite()
        mine.read(lowerBound: 9, highest: 200)
        mine.wrote(10, after: first)
        mine.read(lowerBound: 9, highest: 200)
        #expect(mine.lowest == 1, "a transaction of the first read's time is still open")
        mine.read(lowerBound: 10, highest: 200)
        #expect(mine.lowest == 101, "nothing is known about the ones after the write began")
        mine.renewed(all, relays: 2, leaseMs: 1000, sentAt: t0)
        #expect(mine.surplus.count == 24 && mine.lowest == 101)
        mine.renewed(all, relays: 1, leaseMs: 1000, sentAt: t0)
        #expect(mine.surplus.isEmpty && mine.lowest == 1, "what was not read of them meanwhile")
        mine.read(lowerBound: 30, highest: 300)
        mine.wrote(31, after: mine.willWrite())
        mine.read(lowerBound: 31, highest: nil)
        #expect(mine.lowest == 301)
        var taken = all
        taken[3] = 2
        mine.renewed(taken, relays: 1, leaseMs: 1000, sentAt: t0)
        #expect(mine.lowest == 1, "another had it meanwhile")
    }

    @Test("a closed pool serves what it has admitted, then its slots end")
    func closing() {
        var state = open(1, of: 2)
        _ = state.admit(1, now: t0)
        #expect(state.close().isEmpty)
        #expect(refusal(state.admit(2, now: t0)) == .closed)
        #expect(job(next(&state, 0)) == 1)
        if case .end = next(&state, 0) {} else { Issue.record("it goes on") }
        state.ended(0)
        #expect(!state.hasEnded)
        state.ended(1)
        #expect(state.hasEnded)
    }
}
