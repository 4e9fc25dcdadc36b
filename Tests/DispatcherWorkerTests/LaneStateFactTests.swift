import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders
import Testing

@testable import DispatcherWorker

/// What a lane decides by the facts that it knows.
extension LaneStateTests {
    @Test("of a backlog of dispatches to one device only the latest is pushed; other devices get theirs")
    func overtaken() {
        var state = state()
        let batch: [Intake] = [
            dispatch(1, targets: [Samples.target(1), Samples.target(2)]), dispatch(1, id: "t1"),
            dispatch(1, id: "n:NT0000000000000000000000000000000a"), dispatch(2),
        ]
        state.look(ahead: batch.enumerated().map { (Int64($0.offset), $0.element) }, nowMs: now.epochMs)
        var pushed: [String] = []
        var dropped: [String] = []
        for (offset, intake) in batch.enumerated() {
            let steps = state.take(record(Int64(offset)), intake, now: now)
            pushed += sends(steps).map { "\($0.1.challengeSID.last!)\($0.1.factorSID.last!)\($0.1.dispatchID.first!)" }
            dropped += outcomes(steps).map { "\($0.1.dispatchID) \($0.1.dropReason)" }
        }
        #expect(pushed == ["12c", "11n", "21c"])
        #expect(dropped == ["c overtaken", "t1 overtaken"])
    }

    @Test("a later attempt waits until receipts and resolutions are read as far as they went half a second ago")
    func freshness() throws {
        var (state, now) = (state(), now)
        let steps = state.take(record(0), dispatch(1, id: "t1"), now: now)
        #expect(sends(steps).isEmpty)
        #expect(steps.contains { if case .held = $0 { true } else { false } })
        #expect(state.holdsBack(now: now) && state.pushes == 1)
        // A creation does not wait for them, nor for an attempt in front of it.
        #expect(sends(state.take(record(1), dispatch(2), now: now)).count == 1)

        state.freshness.ask(atMs: now.steadyMs, receipts: 3, resolutions: 0)
        state.freshness.reach(receipts: 2, resolutions: 0)
        #expect(state.due(now: now, mayPush: true).isEmpty, "a receipt is unread")
        state.freshness.reach(receipts: 3, resolutions: 0)
        now.steadyMs += FactFreshness.recentMs + 1
        #expect(state.due(now: now, mayPush: true).isEmpty, "that was too long ago")
        state.freshness.ask(atMs: now.steadyMs, receipts: 3, resolutions: 0)
        state.freshness.reach(receipts: 3, resolutions: 0)
        now.steadyMs += FactFreshness.recentMs
        #expect(state.due(now: now, mayPush: false).isEmpty)
        let late = try #require(sends(state.due(now: now, mayPush: true)).first)
        #expect(late.1.dispatchID == "t1")
        #expect(late.1.leaveByMs == now.epochMs + FactFreshness.promisedMs - FactFreshness.recentMs)
        #expect(!state.holdsBack(now: now))
        // And while it is recent nothing waits but the time it has to leave.
        let other = try #require(sends(state.take(record(2), dispatch(3, id: "t1"), now: now)).first)
        #expect(other.1.leaveByMs == late.1.leaveByMs)

        // It did not leave in time: it waits for newer facts, as the retry of a first push does.
        now.steadyMs += FactFreshness.recentMs
        let withdrawn = PushAnswer(disposition: .deferred, reason: "withdrawn", retryAtMs: now.epochMs)
        #expect(outcomes(state.answered(other.0, withdrawn, now: now)).isEmpty)
        now.steadyMs += QuickRetry.shortestMs
        #expect(state.due(now: now, mayPush: true).isEmpty && state.holdsBack(now: now))
        state.freshness.ask(atMs: now.steadyMs, receipts: 3, resolutions: 0)
        state.freshness.reach(receipts: 3, resolutions: 0)
        #expect(sends(state.due(now: now, mayPush: true)).map(\.0) == [other.0])
    }

    @Test(
        "what lay on the log when the partition came waits for the facts: a predecessor may have pushed it before it died"
    )
    func inherited() throws {
        var (state, now) = (state(), now)
        state.inherit(below: 2)
        #expect(sends(state.take(record(0), dispatch(1), now: now)).isEmpty)
        #expect(
            sends(state.take(record(1), dispatch(2, id: "n:NT0000000000000000000000000000000a"), now: now)).count == 1)
        #expect(sends(state.take(record(2), dispatch(3), now: now)).count == 1, "it is new")
        // The receipt is all that the predecessor's push has left.
        state.read(receipt: Samples.receipt(1), nowMs: now.epochMs)
        state.freshness.ask(atMs: now.steadyMs, receipts: 1, resolutions: 0)
        state.freshness.reach(receipts: 1, resolutions: 0)
        now.steadyMs += 1
        let steps = state.due(now: now, mayPush: true)
        #expect(sends(steps).isEmpty)
        #expect(outcomes(steps).map(\.1.dropReason) == [.confirmedBeforePush])
    }

    @Test(
        "an inherited first push waits for newer facts as often as it came too late to leave, for five seconds at most")
    func inheritedUnconfirmed() throws {
        var (state, now) = (state(), now)
        state.inherit(below: 1)
        #expect(sends(state.take(record(0), dispatch(1), now: now)).isEmpty)
        func learn() {
            state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
            state.freshness.reach(receipts: 0, resolutions: 0)
        }
        learn()
        var sent = try #require(sends(state.due(now: now, mayPush: true)).first)
        let first = now.steadyMs
        while now.steadyMs - first < FactFreshness.longestHoldMs {
            #expect(sent.1.dispatchID == "c" && sent.1.leaveByMs == now.epochMs + FactFreshness.promisedMs)
            now.steadyMs += FactFreshness.promisedMs
            now.epochMs += FactFreshness.promisedMs
            let late = PushAnswer(disposition: .deferred, reason: "withdrawn", retryAtMs: now.epochMs)
            #expect(outcomes(state.answered(sent.0, late, now: now)).isEmpty)
            now.steadyMs += QuickRetry.shortestMs
            now.epochMs += QuickRetry.shortestMs
            #expect(state.due(now: now, mayPush: true).isEmpty && state.holdsBack(now: now))
            learn()
            let steps = state.due(now: now, mayPush: true)
            sent = try #require(sends(steps).first)
            let isUnsure = steps.contains { if case .unsure = $0 { true } else { false } }
            #expect(isUnsure == (now.steadyMs - first >= FactFreshness.longestHoldMs))
        }
        #expect(sent.1.leaveByMs == .max)
    }

    @Test("a receipt that arrives while an inherited first push comes too late to leave drops it")
    func inheritedConfirmedMeanwhile() throws {
        var (state, now) = (state(), now)
        state.inherit(below: 1)
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        let sent = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        #expect(sent.1.leaveByMs == now.epochMs + FactFreshness.promisedMs)
        let late = PushAnswer(disposition: .deferred, reason: "withdrawn", retryAtMs: now.epochMs)
        #expect(outcomes(state.answered(sent.0, late, now: now)).isEmpty)
        state.read(receipt: Samples.receipt(1), nowMs: now.epochMs)
        now.steadyMs += QuickRetry.shortestMs
        let steps = state.due(now: now, mayPush: true)
        #expect(sends(steps).isEmpty)
        #expect(outcomes(steps).map(\.1.dropReason) == [.confirmedBeforePush])
    }

    @Test(
        "a first push may leave for a second from when its record was written; then a poll may have confirmed it",
        arguments: [(Int64(0), Int64(1000)), (999, 1), (-60_000, 1000)])
    func firstPush(_ ageMs: Int64, _ timeToLeaveMs: Int64) throws {
        var (state, now) = (state(), now)
        let sent = try #require(sends(state.take(record(0, ageMs: ageMs), dispatch(1), now: now)).first)
        #expect(sent.1.leaveByMs == now.epochMs + timeToLeaveMs)
        // It did not: it waits for the facts, and a receipt among them drops it.
        now.steadyMs += timeToLeaveMs
        now.epochMs += timeToLeaveMs
        let late = PushAnswer(disposition: .deferred, reason: "withdrawn", retryAtMs: now.epochMs)
        #expect(outcomes(state.answered(sent.0, late, now: now)).isEmpty)
        now.steadyMs += QuickRetry.shortestMs
        #expect(state.due(now: now, mayPush: true).isEmpty && state.holdsBack(now: now))
        state.read(receipt: Samples.receipt(1), nowMs: now.epochMs)
        state.freshness.ask(atMs: now.steadyMs, receipts: 1, resolutions: 0)
        state.freshness.reach(receipts: 1, resolutions: 0)
        let steps = state.due(now: now, mayPush: true)
        #expect(sends(steps).isEmpty)
        #expect(outcomes(steps).map(\.1.dropReason) == [.confirmedBeforePush])
    }

    @Test("a first push whose record is a second old waits for the facts before it leaves; a resend does not")
    func oldFirstPush() throws {
        var (state, now) = (state(), now)
        #expect(sends(state.take(record(0, ageMs: 1000), dispatch(1), now: now)).isEmpty)
        let resend = dispatch(2, id: "n:NT0000000000000000000000000000000a")
        #expect(sends(state.take(record(1, ageMs: 1000), resend, now: now)).map(\.1.leaveByMs) == [.max])
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        let sent = try #require(sends(state.due(now: now, mayPush: true)).first)
        #expect(sent.1.dispatchID == "c" && sent.1.leaveByMs == now.epochMs + FactFreshness.promisedMs)
        // While the facts are recent the next one does not wait.
        now.steadyMs += FactFreshness.recentMs
        let next = try #require(sends(state.take(record(2, ageMs: 5000), dispatch(3), now: now)).first)
        #expect(next.1.leaveByMs == now.epochMs + FactFreshness.promisedMs - FactFreshness.recentMs)
    }

    @Test(
        "a copy of a record on the log overtakes neither the waiting push of the first one, nor a later dispatch",
        arguments: ["c", "t1"])
    func copies(_ id: String) throws {
        var (state, now) = (state(), now)
        #expect(sends(state.take(record(0, ageMs: 2000), dispatch(1, id: id), now: now)).isEmpty, "it waits")
        state.look(ahead: [(1, dispatch(1, id: id))], nowMs: now.epochMs)
        let copy = outcomes(state.take(record(1), dispatch(1, id: id), now: now))
        #expect(copy.map(\.1.dropReason) == [.alreadyDone])
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        now.steadyMs += 1
        #expect(sends(state.due(now: now, mayPush: true)).map(\.1.dispatchID) == [id])

        var other = freshState()
        let batch = [dispatch(2, id: "t2"), dispatch(2, id: id)]
        other.look(ahead: batch.enumerated().map { (Int64($0.offset), $0.element) }, nowMs: now.epochMs)
        #expect(sends(other.take(record(0), batch[0], now: self.now)).map(\.1.dispatchID) == ["t2"])
        #expect(outcomes(other.take(record(1), batch[1], now: self.now)).map(\.1.dropReason) == [.overtaken])
    }

    @Test("a copy of a record is not pushed while the outcome of the first one is being written, nor afterwards")
    func copyWhileWriting() throws {
        var state = freshState()
        let sent = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        #expect(outcomes(state.take(record(1), dispatch(1), now: now)).map(\.1.dropReason) == [.alreadyDone])
        let answer = PushAnswer(disposition: .accepted, sentAtMs: now.epochMs)
        let written = try #require(outcomes(state.answered(sent.0, answer, now: now)).first)
        #expect(written.1.disposition == .accepted)
        #expect(outcomes(state.take(record(2), dispatch(1), now: now)).map(\.1.dropReason) == [.alreadyDone])
        state.acknowledged(written.0, at: position(0), nowMs: now.epochMs)
        #expect(outcomes(state.take(record(3), dispatch(1), now: now)).map(\.1.dropReason) == [.alreadyDone])
    }

    @Test(
        "what came too late to leave while the lane drains has no outcome: the next owner pushes it",
        arguments: ["c", "t1"])
    func withdrawnInDrain(_ id: String) throws {
        var state = freshState()
        let sent = try #require(sends(state.take(record(0), dispatch(1, id: id), now: now)).first)
        state.drain()
        let late = PushAnswer(disposition: .deferred, reason: "withdrawn", retryAtMs: now.epochMs)
        #expect(outcomes(state.answered(sent.0, late, now: now)).isEmpty)
        #expect(state.isDrained && state.commit().offset == 0)
    }

    @Test("a lane that cannot read the facts waits five seconds once, not with each window of pushes")
    func lost() throws {
        var (state, now) = (state(), now)
        _ = state.take(record(0), dispatch(1, id: "t1"), now: now)
        now.steadyMs += FactFreshness.longestHoldMs - 1
        _ = state.take(record(1), dispatch(2, id: "t1"), now: now)
        #expect(state.due(now: now, mayPush: true).isEmpty)
        now.steadyMs += 1
        #expect(sends(state.due(now: now, mayPush: true)).count == 2)
        // One answered question, and the wait begins anew.
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        now.steadyMs += FactFreshness.recentMs + 1
        _ = state.take(record(2), dispatch(3, id: "t1"), now: now)
        now.steadyMs += FactFreshness.longestHoldMs - 1
        #expect(state.due(now: now, mayPush: true).isEmpty)
    }

    @Test("the time in which nothing may leave does not make a first push overdue")
    func fenced() throws {
        var (state, now) = (state(), now)
        let sent = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        let withdrawn = PushAnswer(disposition: .deferred, reason: "withdrawn", retryAtMs: now.epochMs)
        #expect(outcomes(state.answered(sent.0, withdrawn, now: now)).isEmpty)
        now.steadyMs += 2 * FactFreshness.longestHoldMs
        #expect(state.due(now: now, mayPush: false).isEmpty)
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        let steps = state.due(now: now, mayPush: true)
        #expect(sends(steps).map(\.1.leaveByMs) == [now.epochMs + FactFreshness.promisedMs])
        #expect(!steps.contains { if case .unsure = $0 { true } else { false } })
    }

    @Test("with Confirm=any a device where nothing is shown confirms only for itself")
    func hiddenAny() throws {
        var state = freshState()
        var receipt = Samples.receipt(1, factor: 1)
        receipt.shown = .no
        state.read(receipt: receipt, nowMs: now.epochMs)
        var again = Samples.dispatch(
            1, id: "t1", targets: [Samples.target(1), Samples.target(2)], expiresAtMs: 1_060_000)
        again.redelivery.confirm = .any
        let steps = state.take(record(0), .dispatch(Samples.checked(again)), now: now)
        #expect(sends(steps).map(\.1.factorSID) == [Samples.factor(2)])
        receipt.shown = .yes
        state.read(receipt: receipt, nowMs: now.epochMs)
        again.dispatchID = "t2"
        #expect(sends(state.take(record(1), .dispatch(Samples.checked(again)), now: now)).isEmpty)
    }

    @Test("an attempt whose facts stay unknown leaves after five seconds, counted from when it might leave")
    func unsure() throws {
        var (state, now) = (state(), now)
        _ = state.take(record(0), dispatch(1, id: "t1"), now: now)
        now.steadyMs += FactFreshness.longestHoldMs
        #expect(state.due(now: now, mayPush: false).isEmpty)
        now.steadyMs += FactFreshness.longestHoldMs - 1
        #expect(state.due(now: now, mayPush: true).isEmpty)
        now.steadyMs += 1
        let steps = state.due(now: now, mayPush: true)
        #expect(steps.contains { if case .unsure = $0 { true } else { false } })
        #expect(sends(steps).map(\.1.leaveByMs) == [.max])
    }

    @Test("a question for ends that are never reached gives way to a newer one, not at once")
    func unreachable() {
        var freshness = FactFreshness()
        freshness.ask(atMs: 0, receipts: 100, resolutions: 0)
        freshness.ask(atMs: FactFreshness.patienceMs - 1, receipts: 3, resolutions: 0)
        freshness.reach(receipts: 3, resolutions: 0)
        #expect(!freshness.isRecent(steadyMs: FactFreshness.patienceMs))
        freshness.ask(atMs: FactFreshness.patienceMs, receipts: 3, resolutions: 0)
        freshness.reach(receipts: 3, resolutions: 0)
        #expect(freshness.isRecent(steadyMs: FactFreshness.patienceMs))
    }

    @Test("an attempt that waits for the facts is dropped for what they say, and for its expiry without them")
    func heldAndDropped() throws {
        var (state, now) = (state(), now)
        _ = state.take(record(0), dispatch(1, id: "t1"), now: now)
        _ = state.take(record(1), dispatch(2, id: "t1"), now: now)
        _ = state.take(record(2), dispatch(3, id: "t1"), now: now)
        state.read(receipt: Samples.receipt(1), nowMs: now.epochMs)
        state.read(resolution: Samples.resolution(2), nowMs: now.epochMs)
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        let steps = state.due(now: now, mayPush: true)
        #expect(sends(steps).count == 1)
        #expect(outcomes(steps).map(\.1.dropReason) == [.confirmedBeforePush, .resolvedBeforePush])

        _ = state.take(record(3), dispatch(4, id: "t1"), now: Moment(epochMs: now.epochMs, steadyMs: 2000))
        now = Moment(epochMs: 1_060_000, steadyMs: 60_000)
        #expect(outcomes(state.due(now: now, mayPush: true)).map(\.1.dropReason) == [.expiredBeforePush])
    }

    @Test("an attempt seen in the outcomes overtakes what came before it")
    func overtakenByOutcome() {
        var state = freshState()
        state.read(
            outcome: Samples.outcome(1, id: "t2", .accepted, expiresAtMs: 1_060_000), nowMs: now.epochMs)
        #expect(outcomes(state.take(record(0), dispatch(1), now: now)).first?.1.dropReason == .overtaken)
        #expect(outcomes(state.take(record(1), dispatch(1, id: "t1"), now: now)).first?.1.dropReason == .overtaken)
        #expect(outcomes(state.take(record(2), dispatch(1, id: "t2"), now: now)).first?.1.dropReason == .alreadyDone)
        #expect(sends(state.take(record(3), dispatch(1, id: "t3"), now: now)).count == 1)
    }

    @Test(
        "which outcomes of somebody else make a push done",
        arguments: [
            (Disposition.accepted, "", DropReason.unspecified, true), (.rejected, "", .unspecified, true),
            (.tokenDead, "", .unspecified, true), (.deferred, "", .unspecified, true),
            (.credentialFault, "", .unspecified, true), (.unknown, "timeout", .unspecified, true),
            (.unknown, "drained", .unspecified, false), (.dropped, "", .overtaken, true),
            (.dropped, "", .alreadyDone, false), (.UNRECOGNIZED(77), "", .unspecified, false),
        ])
    func doneByOutcome(disposition: Disposition, reason: String, drop: DropReason, isDone: Bool) {
        var state = state()
        var outcome = Samples.outcome(1, disposition, reason: reason, expiresAtMs: 1_060_000)
        outcome.dropReason = drop
        state.read(outcome: outcome, nowMs: now.epochMs)
        let steps = state.take(record(0), dispatch(1), now: now)
        #expect(sends(steps).isEmpty == isDone)
        if isDone { #expect(outcomes(steps).first?.1.dropReason == .alreadyDone) }
    }

    @Test(
        "an attempt after another device's receipt is dropped when any is enough, and pushed when each has to",
        arguments: [ChallengeModel.Confirmation.any, .each])
    func confirmedElsewhere(confirm: ChallengeModel.Confirmation) {
        var state = freshState()
        state.read(receipt: Samples.receipt(1, factor: 2), nowMs: now.epochMs)
        var attempt = Samples.dispatch(1, id: "t1", expiresAtMs: 1_060_000)
        attempt.redelivery.confirm = confirm
        let steps = state.take(record(0), .dispatch(Samples.checked(attempt)), now: now)
        #expect(sends(steps).isEmpty == (confirm == .any))
        #expect(outcomes(steps).first?.1.dropReason == (confirm == .any ? .confirmedBeforePush : nil))
    }

    @Test(
        "a registration that comes behind a newer one changes nothing; a device that registers anew is no longer gone")
    func registrations() {
        var state = state()
        var changed = DeviceChanged()
        changed.challengeSid = Samples.challenge(1)
        changed.factorSid = Samples.factor()
        changed.gone = true
        _ = state.take(record(0), .deviceChanged(changed), now: now)
        changed.gone = false
        changed.target = Samples.target(token: "newest", registeredAtMs: 5000)
        _ = state.take(record(1), .deviceChanged(changed), now: now)
        changed.target = Samples.target(token: "late", registeredAtMs: 4000)
        _ = state.take(record(2), .deviceChanged(changed), now: now)
        #expect(sends(state.take(record(3), dispatch(1), now: now)).map(\.1.pushToken) == ["newest"])
    }

    @Test("a retry keeps a registration that is newer than what is known of the device")
    func retryOlder() throws {
        var state = freshState()
        var now = now
        let newest = Samples.target(token: "newest", registeredAtMs: 5000)
        let (id, _) = try #require(sends(state.take(record(0), dispatch(1, targets: [newest]), now: now)).first)
        _ = state.answered(id, PushAnswer(disposition: .deferred, reason: "connection"), now: now)
        var changed = DeviceChanged()
        changed.challengeSid = Samples.challenge(1)
        changed.factorSid = Samples.factor()
        changed.target = Samples.target(token: "late", registeredAtMs: 4000)
        _ = state.take(record(1), .deviceChanged(changed), now: now)
        now.steadyMs += 200
        #expect(sends(state.due(now: now, mayPush: true)).map(\.1.pushToken) == ["newest"])
    }
}
