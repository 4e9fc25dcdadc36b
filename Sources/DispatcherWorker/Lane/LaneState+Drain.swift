import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

extension LaneState {
    // MARK: - Time

    /// What has come due. With `mayPush` false pushes that wait wait on, and while the facts are not recent.
    mutating func due(now: Moment, mayPush: Bool) -> [LaneStep] {
        guard !timers.isEmpty else { return [] }
        var steps: [LaneStep] = []
        var left: [(atSteadyMs: Int64, timer: Timer)] = []
        for (at, timer) in timers {
            guard at <= now.steadyMs else {
                left.append((at, timer))
                continue
            }
            switch timer {
            case .retryWrite(let id):
                if let pending = writes[id] { steps.append(.write(id, pending.write)) }
            case .sendPush(let id):
                guard mayPush else {
                    left.append((now.steadyMs, timer))
                    continue
                }
                if isHeld(id, now: now) {
                    guard now.steadyMs - at >= FactFreshness.longestHoldMs else {
                        left.append((at, timer))
                        continue
                    }
                    steps.append(.unsure)
                }
                send(id, now: now, into: &steps)
            }
        }
        timers = left
        return steps
    }

    /// Whether it needs facts that are more recent. What has expired needs none, and what the backend asked for again goes
    /// whatever the devices said.
    private func isHeld(_ id: UInt64, now: Moment) -> Bool {
        guard !freshness.isRecent(steadyMs: now.steadyMs), let unit = units[id] else { return false }
        return !unit.dispatch.id.isResend && unit.push.expiresAtMs > now.epochMs
    }

    /// Pushes that wait for nothing but more recent facts.
    func holdsBack(now: Moment) -> Bool {
        !timers.isEmpty
            && timers.contains { at, timer in
                guard at <= now.steadyMs, case .sendPush(let id) = timer else { return false }
                return isHeld(id, now: now)
            }
    }

    private mutating func send(_ id: UInt64, now: Moment, into steps: inout [LaneStep]) {
        guard var unit = units[id] else { return }
        waiting[unit.device]?.removeAll { $0 == id }
        if waiting[unit.device]?.isEmpty == true { waiting[unit.device] = nil }
        let checked = unit.dispatch
        var known = facts.facts(
            challenge: unit.push.challengeSID, factor: unit.push.factorSID, device: unit.device,
            dispatch: unit.push.dispatchID, id: checked.id, isOvertaken: unit.isOvertaken)
        known.done = []
        if let reason = PushPlanner.reasonToDrop(checked.dispatch, id: checked.id, facts: known, nowMs: now.epochMs) {
            units[id] = nil
            unanswered.remove(unit.fingerprint)
            var target = DispatchTarget()
            target.factorSid = unit.push.factorSID
            target.platform = unit.push.platform
            target.appID = unit.push.appID
            target.credentialSid = unit.push.credentialSID
            target.registeredAtMs = unit.push.registeredAtMs
            let planned = PlannedPush(kind: unit.push.kind, target: target, decision: .drop(reason))
            steps.append(.dropped(reason))
            steps.append(
                write(
                    .outcome(
                        builder.outcome(planned, of: checked, nowMs: now.epochMs), traceparent: checked.traceparent),
                    record: unit.record, unit: unit.fingerprint))
            return
        }
        if let fresh = known.registration, fresh.registeredAtMs > unit.push.registeredAtMs { unit.push.register(fresh) }
        unit.attempts += 1
        unit.sentAtSteadyMs = now.steadyMs
        units[id] = unit
        var push = unit.push
        // A first push that only waited for the facts has no time to leave by: with a backlog it would be put off again and again.
        if checked.id.isAttempt || unit.attempts > 1 && !checked.id.isResend, freshness.isRecent(steadyMs: now.steadyMs)
        {
            push.leaveByMs = freshness.leaveByMs(now)
        }
        steps.append(.send(id, push))
    }

    /// Forgets what is past. Once a second is enough.
    mutating func tidy(nowMs: Int64) {
        facts.expire(nowMs: nowMs)
        positions.prune(committed: ledger.committable, nowMs: nowMs)
    }

    /// When the push that has waited longest for its answer was sent; nil: none is out.
    var oldestSentSteadyMs: Int64? { units.values.compactMap(\.sentAtSteadyMs).min() }

    // MARK: - Commit and drain

    /// What may be committed now.
    mutating func commit() -> CommittedOffset {
        let outcomes = floors.floor(committed: ledger.committable, next: ledger.next)
        let metadata = CommitMetadata(outcomes: outcomes, spans: positions.merged(to: CommitMetadata.maxSpans))
        return CommittedOffset(offset: ledger.committable, metadata: metadata.text)
    }

    /// Takes no more. What waits for a retry is given up: its record stays open and is read again by the next owner.
    mutating func drain() {
        isDraining = true
        for id in waiting.values.joined() {
            guard let unit = units.removeValue(forKey: id) else { continue }
            unanswered.remove(unit.fingerprint)
        }
        waiting = [:]
    }

    /// Nothing is out: neither a push nor a write.
    var isDrained: Bool { units.isEmpty && writes.isEmpty }
    var hasUnanswered: Bool { !units.isEmpty }

    /// The bound has passed: whatever has no answer is recorded as unknown, and its record stays open.
    mutating func giveUp(now: Moment) -> [LaneStep] {
        var steps: [LaneStep] = []
        for (_, unit) in units {
            unanswered.remove(unit.fingerprint)
            let answer = PushAnswer(disposition: .unknown, reason: OutcomeReason.drained)
            let outcome = builder.outcome(answer, of: unit.push, in: unit.dispatch, nowMs: now.epochMs)
            steps.append(.answered(unit.push.platform, unit.push.kind, .unknown))
            // One outstanding more than will be acknowledged keeps the record open.
            open[unit.record]?.outstanding += 1
            steps.append(
                write(.outcome(outcome, traceparent: unit.dispatch.traceparent), record: unit.record, unit: nil))
        }
        units = [:]
        return steps
    }

    /// The partition is handed over: everything open is given back, what is known stays.
    mutating func reset() {
        _ = ledger.reset()
        open = [:]
        units = [:]
        unanswered = []
        waiting = [:]
        writes = [:]
        timers = []
        ahead = [:]
        pushes = 0
        bytes = 0
    }

    mutating func limit(doneBytes: Int, factBytes: Int) { facts.limit(doneBytes: doneBytes, factBytes: factBytes) }

    /// Pushes forgotten before their time since the last call.
    mutating func takeEvicted() -> Int { facts.takeEvicted() }
}

extension Push {
    /// The device has registered anew since the record was written.
    fileprivate mutating func register(_ target: DispatchTarget) {
        platform = target.platform
        pushToken = target.pushToken
        appID = target.appID
        credentialSID = target.credentialSid
        environment = target.environment
        registeredAtMs = target.registeredAtMs
    }
}
