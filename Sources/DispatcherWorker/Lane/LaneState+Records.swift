import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// Takes records, and plans the pushes of each.
extension LaneState {
    /// Call it with records that will be taken next, in order, after all earlier records were taken. The lane then
    /// knows before sending which dispatches are overtaken.
    mutating func look(ahead batch: [(offset: Int64, intake: Intake)], nowMs: Int64) {
        ahead.removeAll(keepingCapacity: true)
        for (offset, intake) in batch {
            guard case .dispatch(let checked) = intake else { continue }
            let dispatch = checked.dispatch
            // A creation overtakes nothing: a second one on the log is a copy.
            guard checked.id != .creation else { continue }
            for target in dispatch.targets {
                let device = Fingerprint.device(challenge: dispatch.challengeSid, factor: target.factorSid)
                ahead[device, default: []].append((offset, checked.id))
                facts.see(checked.id, device: device, expiresAtMs: dispatch.expiresAtMs, nowMs: nowMs)
                for id in waiting[device] ?? [] {
                    guard let unit = units[id], checked.id.overtakes(unit.dispatch.id) else { continue }
                    units[id]?.isOvertaken = true
                }
            }
        }
    }

    /// Takes one record and starts its work.
    mutating func take(_ record: ConsumedRecord, _ intake: Intake, now: Moment) -> [LaneStep] {
        guard record.offset >= ledger.next else { return [] }
        floors.take(record.offset)
        ledger.take(record.offset)
        let size = record.value.count + record.key.count
        var steps: [LaneStep] = []
        switch intake {
        case .carried:
            ledger.complete(record.offset)
        case .deviceChanged(let changed):
            facts.change(changed, nowMs: now.epochMs)
            ledger.complete(record.offset)
        case .misplaced:
            begin(record.offset, outstanding: 1, bytes: size)
            steps.append(write(.repost(record), record: record.offset))
        case .bad(let reason, let detail):
            begin(record.offset, outstanding: 1, bytes: size)
            steps.append(write(.deadLetter(record, reason: reason, detail: detail), record: record.offset))
        case .dispatch(let checked):
            positions.note(offset: record.offset, expiresAtMs: checked.dispatch.expiresAtMs)
            plan(checked, of: record, bytes: size, now: now, into: &steps)
        }
        return steps
    }

    private mutating func plan(
        _ checked: CheckedDispatch, of consumed: ConsumedRecord, bytes: Int, now: Moment, into steps: inout [LaneStep]
    ) {
        let record = consumed.offset
        let dispatch = checked.dispatch
        // No receipt is older than the creation, so until then a first push needs no facts.
        let createdAtMs = dispatch.createdAtMs > 0 ? dispatch.createdAtMs : now.epochMs
        let freeUntilMs = min(consumed.timestampMs, createdAtMs, now.epochMs) + FactFreshness.promisedMs
        var outstanding = 0
        for (target, factor) in zip(dispatch.targets, checked.factors) {
            let device = Fingerprint.device(challenge: dispatch.challengeSid, factor: factor.rawValue)
            let known = facts(of: checked, factor: factor.rawValue, device: device, record: record)
            let plan = PushPlanner.plan(target, of: dispatch, id: checked.id, facts: known, nowMs: now.epochMs)
            for planned in plan {
                outstanding += 1
                guard planned.decision == .push else {
                    if case .drop(let reason) = planned.decision { steps.append(.dropped(reason)) }
                    let outcome = builder.outcome(planned, of: checked, nowMs: now.epochMs)
                    steps.append(
                        write(
                            .outcome(outcome, traceparent: checked.traceparent), record: record,
                            unit: unit(of: checked, factor: factor.rawValue, kind: planned.kind, if: planned.decision)))
                    continue
                }
                let id = takeID()
                var push = builder.push(planned, of: checked, factor: factor)
                let fingerprint = Fingerprint.unit(
                    challenge: dispatch.challengeSid, factor: factor.rawValue, dispatch: dispatch.dispatchID,
                    kind: planned.kind)
                let needsFacts = checked.id == .creation && (record < inheritedEnd || now.epochMs >= freeUntilMs)
                let isHeld = (checked.id.isAttempt || needsFacts) && !freshness.isRecent(steadyMs: now.steadyMs)
                units[id] = PushUnit(
                    record: record, fingerprint: fingerprint, device: device, dispatch: checked, push: push,
                    attempts: isHeld ? 0 : 1, sentAtSteadyMs: isHeld ? nil : now.steadyMs, needsFacts: needsFacts)
                unrecorded.insert(fingerprint)
                if isHeld {
                    freshness.miss(steadyMs: now.steadyMs)
                    wait(id, device: device, untilSteadyMs: now.steadyMs)
                    steps.append(.held)
                } else {
                    if checked.id.isAttempt || needsFacts {
                        push.leaveByMs = freshness.leaveByMs(now)
                    } else if checked.id == .creation {
                        push.leaveByMs = freeUntilMs
                    }
                    steps.append(.send(id, push))
                }
            }
        }
        begin(record, outstanding: outstanding, bytes: bytes)
    }

    private func facts(of checked: CheckedDispatch, factor: String, device: UInt64, record: Int64) -> DeviceFacts {
        var known = facts.facts(
            challenge: checked.dispatch.challengeSid, factor: factor, device: device,
            dispatch: checked.dispatch.dispatchID, id: checked.id,
            isOvertaken: ahead[device]?.contains { $0.offset > record && $0.id.overtakes(checked.id) } ?? false)
        if !unrecorded.isEmpty {
            for kind in [PushKind.visible, .background]
            where unrecorded.contains(
                Fingerprint.unit(
                    challenge: checked.dispatch.challengeSid, factor: factor, dispatch: checked.dispatch.dispatchID,
                    kind: kind))
            {
                known.done.insert(kind)
            }
        }
        return known
    }

    /// A drop is final for its push, except "already done", which adds nothing.
    private func unit(
        of checked: CheckedDispatch, factor: String, kind: PushKind, if decision: PlannedPush.Decision
    ) -> UInt64? {
        if decision == .drop(.alreadyDone) { return nil }
        return Fingerprint.unit(
            challenge: checked.dispatch.challengeSid, factor: factor, dispatch: checked.dispatch.dispatchID, kind: kind)
    }

    private mutating func begin(_ record: Int64, outstanding: Int, bytes: Int) {
        open[record] = OpenRecord(outstanding: outstanding, pushes: outstanding, bytes: bytes)
        pushes += outstanding
        self.bytes += bytes
    }

    mutating func wait(_ id: UInt64, device: UInt64, untilSteadyMs: Int64) {
        waiting[device, default: []].append(id)
        timers.append((untilSteadyMs, .sendPush(id)))
    }

}

extension DispatchID {
    /// Whether a push to a device for this dispatch makes that of an earlier record superfluous: both show the same
    /// challenge. A copy of the same dispatch does not, nor does an attempt that came before.
    fileprivate func overtakes(_ other: DispatchID) -> Bool {
        switch (self, other) {
        case (.creation, _): false
        case (.attempt(let number), .attempt(let earlier)): number > earlier
        case (.attempt, _): true
        case (.resend, _): self != other
        }
    }
}
