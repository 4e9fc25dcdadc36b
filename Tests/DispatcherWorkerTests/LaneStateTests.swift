import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders
import ServiceSupport
import Testing

@testable import DispatcherWorker

@Suite("A lane as a value")
struct LaneStateTests {
    let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: Samples.keys))
    var now = Moment(epochMs: 1_000_000, steadyMs: 0)

    func state(committed: CommittedOffset? = nil) -> LaneState {
        var state = LaneState(
            partition: 0, start: LaneStart(committed: committed, nowMs: now.epochMs),
            builder: PushBuilder(recordKeys: Samples.keys), quickRetry: QuickRetry(withinMs: 1000, leftMs: 2000),
            facts: LaneFacts(doneBytes: 1 << 20, factBytes: 1 << 20))
        state.inherit(below: committed?.offset ?? 0)
        return state
    }

    /// With the facts read to their ends now.
    func freshState() -> LaneState {
        var state = state()
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        return state
    }

    func dispatch(_ number: Int, id: String = "c", targets: [DispatchTarget] = [Samples.target()]) -> Intake {
        .dispatch(Samples.checked(Samples.dispatch(number, id: id, targets: targets, expiresAtMs: 1_060_000)))
    }

    func record(_ offset: Int64) -> ConsumedRecord {
        Samples.consumed(ProducerRecord(topic: "beckon.challenges", key: [1], value: [1, 2, 3]), offset: offset)
    }

    func sends(_ steps: [LaneStep]) -> [(UInt64, Push)] {
        steps.compactMap { if case .send(let id, let push) = $0 { (id, push) } else { nil } }
    }

    func outcomes(_ steps: [LaneStep]) -> [(UInt64, PushOutcome)] {
        steps.compactMap { if case .write(let id, .outcome(let outcome, _)) = $0 { (id, outcome) } else { nil } }
    }

    func position(_ offset: Int64) -> RecordPosition {
        RecordPosition(topicPartition: TopicPartition(topic: "beckon.outcomes", partition: 0), offset: offset)
    }

    @Test("a background push that no provider took is not counted, one that may have arrived is")
    func background() throws {
        for (disposition, isCounted) in [(Disposition.deferred, false), (.accepted, true), (.unknown, true)] {
            var state = state()
            func take(_ offset: Int64, _ id: String) -> [(UInt64, Push)] {
                let dispatch = Samples.dispatch(
                    1, id: id, targets: [Samples.target(platform: .apn, budget: 1)], expiresAtMs: 1_060_000,
                    background: true)
                return sends(state.take(record(offset), .dispatch(Samples.checked(dispatch)), now: now))
            }
            let first = try #require(take(0, "c").first { $0.1.kind == .background })
            _ = state.answered(first.0, PushAnswer(disposition: disposition, retryAtMs: 1_050_000), now: now)
            let resend = take(1, "n:NT0300000000000000000000000000aaaa")
            #expect(resend.map(\.1.kind) == (isCounted ? [.visible] : [.visible, .background]))
        }
    }

    @Test("a record is done when the outcome of each of its pushes is acknowledged, not before")
    func done() throws {
        var state = state()
        let steps = state.take(
            record(0), dispatch(1, targets: [Samples.target(1), Samples.target(2)]), now: now)
        let pushes = sends(steps)
        #expect(pushes.count == 2)
        #expect(state.pushes == 2)
        var writes: [UInt64] = []
        for (id, _) in pushes {
            writes += outcomes(state.answered(id, PushAnswer(disposition: .accepted), now: now)).map(\.0)
        }
        #expect(state.commit().offset == 0)
        state.acknowledged(writes[0], at: position(0), nowMs: now.epochMs)
        #expect(state.commit().offset == 0)
        state.acknowledged(writes[1], at: position(1), nowMs: now.epochMs)
        #expect(state.commit().offset == 1)
        #expect(state.pushes == 0)
        #expect(state.bytes == 0)
        #expect(state.isDrained)
    }

    @Test("an answer or an acknowledgement that comes twice counts once")
    func twice() throws {
        var state = state()
        let (id, _) = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        let (write, _) = try #require(
            outcomes(state.answered(id, PushAnswer(disposition: .accepted), now: now)).first)
        #expect(state.answered(id, PushAnswer(disposition: .rejected), now: now).isEmpty)
        state.acknowledged(write, at: position(0), nowMs: now.epochMs)
        state.acknowledged(write, at: position(0), nowMs: now.epochMs)
        #expect(state.commit().offset == 1)
        #expect(state.pushes == 0)
    }

    @Test("the outcome echoes the unit, the registration and the provider's answer")
    func outcome() throws {
        var state = freshState()
        let (id, push) = try #require(
            sends(
                state.take(
                    record(0), dispatch(1, id: "t2", targets: [Samples.target(registeredAtMs: 77)]), now: now)
            ).first)
        #expect(push.expiresAtMs == 1_060_000)
        let token = try #require(ReceiptToken(push.receiptToken, keys: Samples.keys, nowMs: now.epochMs))
        #expect(token.challenge.rawValue == Samples.challenge(1))
        #expect(token.factor.rawValue == Samples.factor())
        #expect(token.dispatch == .attempt(2))
        let answer = PushAnswer(
            disposition: .tokenDead, reason: "Unregistered", status: 410, providerMessageID: "m", tokenDiedAtMs: 55,
            sentAtMs: 66)
        let (_, outcome) = try #require(outcomes(state.answered(id, answer, now: now)).first)
        #expect(outcome.challengeSid == Samples.challenge(1))
        #expect(outcome.factorSid == Samples.factor())
        #expect(outcome.dispatchID == "t2")
        #expect(outcome.kind == .visible)
        #expect(outcome.disposition == .tokenDead)
        #expect(outcome.reason == "Unregistered")
        #expect(outcome.providerStatus == 410)
        #expect(outcome.tokenDiedAtMs == 55)
        #expect(outcome.registeredAtMs == 77)
        #expect(outcome.sentAtMs == 66)
        #expect(outcome.atMs == now.epochMs)
        #expect(outcome.expiresAtMs == 1_060_000)
    }

    @Test("a transient answer is tried once more with the same push id, then it is the outcome")
    func retry() throws {
        var state = freshState()
        var now = now
        let (id, push) = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        let answer = PushAnswer(disposition: .deferred, reason: "connection", retryAtMs: now.epochMs + 300)
        #expect(outcomes(state.answered(id, answer, now: now)).isEmpty)
        now.steadyMs += 299
        #expect(state.due(now: now, mayPush: true).isEmpty)
        now.steadyMs += 1
        #expect(state.due(now: now, mayPush: false).isEmpty, "held while the commit is old")
        let again = try #require(sends(state.due(now: now, mayPush: true)).first)
        #expect(again.0 == id)
        #expect(again.1.pushID == push.pushID)
        let (_, outcome) = try #require(outcomes(state.answered(id, answer, now: now)).first)
        #expect(outcome.disposition == .deferred)
        #expect(outcome.retryAtMs == answer.retryAtMs)
    }

    @Test(
        "what happens while a push waits for its retry counts",
        arguments: ["receipt", "resolution", "expiry", "later", "gone", "token"])
    func retryDropped(what: String) throws {
        var state = freshState()
        var now = now
        let (id, _) = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        _ = state.answered(id, PushAnswer(disposition: .deferred, reason: "connection"), now: now)
        var changed = DeviceChanged()
        changed.challengeSid = Samples.challenge(1)
        changed.factorSid = Samples.factor()
        var expected = DropReason.unspecified
        switch what {
        case "receipt":
            state.read(receipt: Samples.receipt(1), nowMs: now.epochMs)
            expected = .confirmedBeforePush
        case "resolution":
            state.read(resolution: Samples.resolution(1), nowMs: now.epochMs)
            expected = .resolvedBeforePush
        case "expiry":
            now.epochMs = 1_060_000
            expected = .expiredBeforePush
        case "later":
            state.look(
                ahead: [(1, dispatch(1, id: "n:NT0000000000000000000000000000000a"))], nowMs: now.epochMs)
            expected = .overtaken
        case "gone":
            changed.gone = true
            _ = state.take(record(1), .deviceChanged(changed), now: now)
            expected = .deviceGone
        default:
            changed.target = Samples.target(token: "new", registeredAtMs: 5000)
            _ = state.take(record(1), .deviceChanged(changed), now: now)
        }
        now.steadyMs += 200
        let steps = state.due(now: now, mayPush: true)
        if what == "token" {
            #expect(sends(steps).first?.1.pushToken == "new")
        } else {
            #expect(sends(steps).isEmpty)
            #expect(outcomes(steps).first?.1.dropReason == expected)
        }
    }

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

    @Test("while it drains a transient answer is the outcome: there is no retry to wait for")
    func deferredWhileDraining() throws {
        var state = state()
        let (id, _) = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        state.drain()
        let steps = state.answered(id, PushAnswer(disposition: .deferred, reason: "connection"), now: now)
        let (write, outcome) = try #require(outcomes(steps).first)
        #expect(outcome.disposition == .deferred)
        state.acknowledged(write, at: position(0), nowMs: now.epochMs)
        #expect(state.isDrained)
        #expect(state.commit().offset == 1)
    }

    @Test("the same dispatch a second time is not pushed beside the first, nor after it")
    func sameTwice() throws {
        var state = state()
        let (id, _) = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        #expect(outcomes(state.take(record(1), dispatch(1), now: now)).first?.1.dropReason == .alreadyDone)
        let (write, _) = try #require(
            outcomes(state.answered(id, PushAnswer(disposition: .accepted), now: now)).first)
        state.acknowledged(write, at: position(0), nowMs: now.epochMs)
        #expect(outcomes(state.take(record(2), dispatch(1), now: now)).first?.1.dropReason == .alreadyDone)
    }

    @Test("of a log that was made anew the first record is taken again; what was pushed is still known")
    func startOver() throws {
        var state = state()
        let id = try #require(sends(state.take(record(7), dispatch(1), now: now)).first?.0)
        let write = try #require(outcomes(state.answered(id, PushAnswer(disposition: .accepted), now: now)).first?.0)
        state.acknowledged(write, at: position(9), nowMs: now.epochMs)
        #expect(state.commit().offset == 8)
        state.reset()
        state.startOver([.challenges, .receipts])
        state.resume(committed: nil)
        #expect(state.commit().offset == 0 && state.receipts == 0)
        #expect(sends(state.take(record(0), dispatch(2), now: now)).count == 1)
        #expect(outcomes(state.take(record(1), dispatch(1), now: now)).first?.1.dropReason == .alreadyDone)
    }

    @Test("records that need no push are done at once; poison and misplaced ones when they are written away")
    func others() throws {
        var state = state()
        #expect(state.take(record(0), .carried, now: now).isEmpty)
        #expect(state.take(record(1), .deviceChanged(DeviceChanged()), now: now).isEmpty)
        #expect(state.commit().offset == 2)
        let bad = state.take(record(2), .bad(reason: "mac", detail: "d"), now: now)
        let moved = state.take(record(3), .misplaced, now: now)
        guard case .write(let first, .deadLetter(_, let reason, _)) = bad.first,
            case .write(let second, .repost) = moved.first
        else {
            Issue.record("expected a dead letter and a repost")
            return
        }
        #expect(reason == "mac")
        #expect(state.commit().offset == 2)
        state.acknowledged(second, at: position(9), nowMs: now.epochMs)
        #expect(state.commit().offset == 2)
        state.acknowledged(first, at: position(9), nowMs: now.epochMs)
        #expect(state.commit().offset == 4)
    }

    @Test("a write that fails is tried again with growing pauses and the record stays open")
    func writeAgain() throws {
        var state = state()
        var now = now
        let (id, _) = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        let (write, _) = try #require(
            outcomes(state.answered(id, PushAnswer(disposition: .accepted), now: now)).first)
        var pauses: [Int64] = []
        for _ in 0..<8 {
            state.writeFailed(write, now: now)
            let failedAt = now.steadyMs
            while outcomes(state.due(now: now, mayPush: false)).isEmpty { now.steadyMs += 10 }
            pauses.append(now.steadyMs - failedAt)
        }
        #expect(pauses == [100, 200, 400, 800, 1600, 2000, 2000, 2000])
        #expect(state.commit().offset == 0)
        state.acknowledged(write, at: position(0), nowMs: now.epochMs)
        #expect(state.commit().offset == 1)
    }

    @Test("what is too large to be written is cut; a misplaced one then goes to the dead letters")
    func tooLarge() throws {
        var state = state()
        var now = now
        let large = ConsumedRecord(
            topicPartition: TopicPartition(topic: "beckon.challenges", partition: 0), offset: 0, timestampMs: 1,
            key: Array(repeating: 65, count: 5000), value: Array(repeating: 1, count: 100_000),
            headers: [RecordHeader("x", "y")])
        guard case .write(let id, .repost) = state.take(large, .misplaced, now: now).first else {
            Issue.record("expected a repost")
            return
        }
        state.writeFailed(id, isTooLarge: true, now: now)
        now.steadyMs += 5000
        guard case .write(let again, .deadLetter(let record, "size", _)) = state.due(now: now, mayPush: false).first
        else {
            Issue.record("expected a dead letter")
            return
        }
        #expect(again == id)
        #expect(record.key.count + record.value.count < 70_000)
        #expect(record.headers.isEmpty)
        state.acknowledged(id, at: position(0), nowMs: now.epochMs)
        #expect(state.commit().offset == 1)
    }

    @Test("a drain waits for answers, records the rest as unknown, and leaves their records open")
    func drain() throws {
        var state = state()
        let first = try #require(sends(state.take(record(0), dispatch(1), now: now)).first)
        let third = try #require(sends(state.take(record(1), dispatch(3), now: now)).first)
        let second = try #require(sends(state.take(record(2), dispatch(2), now: now)).first)
        _ = state.answered(second.0, PushAnswer(disposition: .deferred, reason: "connection"), now: now)
        state.drain()
        #expect(!state.isDrained)
        let (write, _) = try #require(
            outcomes(state.answered(first.0, PushAnswer(disposition: .accepted), now: now)).first)
        state.acknowledged(write, at: position(0), nowMs: now.epochMs)
        #expect(state.commit().offset == 1)
        let left = outcomes(state.giveUp(now: now))
        #expect(left.map(\.1.challengeSid) == [Samples.challenge(3)])
        #expect(left.map(\.1.disposition) == [.unknown])
        #expect(left.map(\.1.reason) == ["drained"])
        #expect(state.answered(third.0, PushAnswer(disposition: .accepted), now: now).isEmpty, "too late")
        state.acknowledged(left[0].0, at: position(1), nowMs: now.epochMs)
        #expect(state.isDrained)
        let commit = state.commit()
        #expect(commit.offset == 1)
        state.reset()
        #expect(state.pushes == 0)

        // It comes back: what is done stays done, what was left is pushed again. Whoever has it next has to read as much.
        state.resume(committed: nil)
        state.inherit(below: 4)
        state.freshness.ask(atMs: now.steadyMs, receipts: 0, resolutions: 0)
        state.freshness.reach(receipts: 0, resolutions: 0)
        #expect(state.commit() == commit)
        #expect(state.ledger.next == 1)
        #expect(outcomes(state.take(record(1), dispatch(1), now: now)).first?.1.dropReason == .alreadyDone)
        #expect(sends(state.take(record(2), dispatch(2), now: now)).count == 1)
        #expect(sends(state.take(record(3), dispatch(3), now: now)).first?.1.pushID == third.1.pushID)
    }

    @Test("it has caught up when each of the three topics of facts was read to its end, and not before")
    func caughtUp() {
        let ends = LaneEnds(
            askedAtSteadyMs: 0, challenges: 9, outcomes: 3, receipts: 2, resolutions: 1, receiptsRead: 0,
            resolutionsRead: 0)
        for missing in 0..<4 {
            var state = state()
            state.reach(outcomes: missing == 0 ? 2 : 3)
            state.reach(receipts: missing == 1 ? 1 : 2)
            state.reach(resolutions: missing == 2 ? 0 : 1)
            #expect(state.hasReached(ends) == (missing == 3), "\(missing)")
        }
    }

    @Test("a partition that another member served meanwhile goes on where that one committed")
    func resumeBehind() {
        var state = state(committed: CommittedOffset(offset: 5, metadata: "1 o=3 f=0.1.2.99"))
        #expect(state.ledger.next == 5)
        #expect(state.outcomes == 3)
        #expect(state.receipts == 1)
        #expect(state.resolutions == 2)
        state.drain()
        state.reset()
        state.resume(committed: 50)
        #expect(state.ledger.next == 50)
        #expect(state.take(record(49), dispatch(1), now: now).isEmpty)
    }
}
