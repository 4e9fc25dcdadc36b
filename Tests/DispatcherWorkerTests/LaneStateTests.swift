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

    /// Written at `now`, or earlier.
    func record(_ offset: Int64, ageMs: Int64 = 0) -> ConsumedRecord {
        Samples.consumed(
            ProducerRecord(topic: "beckon.challenges", key: [1], value: [1, 2, 3]), offset: offset,
            timestampMs: now.epochMs - ageMs)
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

        // It comes back: what is done stays done, what was left is pushed again. Whoever has it next has to read as
        // much.
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
