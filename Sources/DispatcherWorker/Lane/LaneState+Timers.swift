import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// Waiting work: pushes that wait for a retry or for more recent facts, and writes that wait for a retry.
extension LaneState {
    /// The work that is due. Waiting pushes keep waiting while `mayPush` is false or the facts are not recent.
    mutating func due(now: Moment, mayPush: Bool) -> [LaneStep] {
        guard !timers.isEmpty else { return [] }
        if !mayPush { freshness.forgive() }
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
                    // The time in which nothing may leave counts for neither wait.
                    units[id]?.firstSentAtSteadyMs = nil
                    left.append((now.steadyMs, timer))
                    continue
                }
                if isHeld(id, now: now) {
                    freshness.miss(steadyMs: now.steadyMs)
                    guard now.steadyMs - at >= FactFreshness.longestHoldMs || freshness.isLost(steadyMs: now.steadyMs)
                    else {
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

    /// Whether a push needs more recent facts. An expired push needs none, and a resend by the backend is sent whatever
    /// the devices have reported.
    private func isHeld(_ id: UInt64, now: Moment) -> Bool {
        guard !freshness.isRecent(steadyMs: now.steadyMs), let unit = units[id] else { return false }
        return !unit.dispatch.id.isResend && unit.push.expiresAtMs > now.epochMs
    }

    /// Whether pushes wait only for more recent facts.
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
        let isOverdue = unit.isOverdue(steadyMs: now.steadyMs)
        if unit.needsFacts, unit.firstSentAtSteadyMs == nil { unit.firstSentAtSteadyMs = now.steadyMs }
        units[id] = unit
        var push = unit.push
        let needsFacts = checked.id.isAttempt || unit.needsFacts || unit.attempts > 1 && !checked.id.isResend
        if needsFacts, freshness.isRecent(steadyMs: now.steadyMs) {
            if isOverdue { steps.append(.unsure) } else { push.leaveByMs = freshness.leaveByMs(now) }
        }
        steps.append(.send(id, push))
    }

}

extension Push {
    /// Applies a new registration of the device since the record was written.
    fileprivate mutating func register(_ target: DispatchTarget) {
        platform = target.platform
        pushToken = target.pushToken
        appID = target.appID
        credentialSID = target.credentialSid
        environment = target.environment
        registeredAtMs = target.registeredAtMs
    }
}
