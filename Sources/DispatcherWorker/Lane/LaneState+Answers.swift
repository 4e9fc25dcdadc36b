import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// Answers of pushes, acknowledgements of writes, and completion of records.
extension LaneState {
    /// Handles the gateway's answer. Unknown ids are from before a reset and are ignored.
    mutating func answered(_ id: UInt64, _ answer: PushAnswer, now: Moment) -> [LaneStep] {
        guard var unit = units[id], unit.sentAtSteadyMs != nil else { return [] }
        var steps = [LaneStep.answered(answered(unit, answer, nowMs: now.epochMs))]
        if isDraining, answer.reason == QuickRetry.withdrawn {
            // It never left. Its record stays open, and the next owner reads it again.
            units[id] = nil
            unrecorded.remove(unit.fingerprint)
            return steps
        }
        let delay = quickRetry.delayMs(after: answer, expiresAtMs: unit.push.expiresAtMs, nowMs: now.epochMs)
        // A first push that came too late to leave has not been tried: nobody else sends it soon.
        if answer.reason == QuickRetry.withdrawn, unit.dispatch.id == .creation {
            unit.becomeLate()
            if !unit.isOverdue(steadyMs: now.steadyMs) { unit.attempts = 0 }
        }
        if let delay, unit.attempts <= 1, !isDraining {
            unit.sentAtSteadyMs = nil
            units[id] = unit
            wait(id, device: unit.device, untilSteadyMs: now.steadyMs + delay)
            return steps
        }
        units[id] = nil
        let outcome = builder.outcome(answer, of: unit.push, in: unit.dispatch, nowMs: now.epochMs)
        if outcome.disposition == .dropped { steps.append(.dropped(outcome.dropReason)) }
        if outcome.usesBackground {
            facts.useBackground(device: unit.device, expiresAtMs: outcome.expiresAtMs, nowMs: now.epochMs)
        }
        steps.append(
            write(
                .outcome(outcome, traceparent: unit.dispatch.traceparent), record: unit.record, unit: unit.fingerprint))
        return steps
    }

    private func answered(_ unit: PushUnit, _ answer: PushAnswer, nowMs: Int64) -> AnsweredPush {
        var push = AnsweredPush(
            platform: unit.push.platform, kind: unit.push.kind, disposition: answer.disposition)
        if answer.sentAtMs > 0 { push.tookMs = max(0, nowMs - answer.sentAtMs) }
        if answer.disposition == .accepted, unit.push.kind != .background, unit.dispatch.id == .creation,
            unit.dispatch.dispatch.createdAtMs > 0
        {
            push.acceptedAfterMs = max(0, nowMs - unit.dispatch.dispatch.createdAtMs)
        }
        return push
    }

    /// Call it when the broker has acknowledged a write.
    mutating func acknowledged(_ id: UInt64, at position: RecordPosition, nowMs: Int64) {
        guard let pending = writes.removeValue(forKey: id) else { return }
        if case .outcome(let outcome, _) = pending.write {
            floors.reach(position.offset + 1)
            if let unit = pending.unit {
                unrecorded.remove(unit)
                facts.finish(unit, expiresAtMs: outcome.expiresAtMs, nowMs: nowMs)
            }
        }
        finishOne(of: pending.record)
    }

    /// Call it when a write has failed, or its result is unknown. It is tried again for as long as this worker owns the
    /// partition.
    /// - Parameter isTooLarge: true when the broker will never accept these bytes. They are shortened, because a poison
    ///   record must not stop the lane.
    mutating func writeFailed(_ id: UInt64, isTooLarge: Bool = false, now: Moment) {
        guard var pending = writes[id] else { return }
        if isTooLarge { pending.write = pending.write.cut() }
        pending.attempts += 1
        writes[id] = pending
        let delay = min(2000, Int64(50) << Int64(min(pending.attempts, 6)))
        timers.append((now.steadyMs + delay, .retryWrite(id)))
    }

    private mutating func finishOne(of record: Int64) {
        guard var opened = open[record] else { return }
        opened.outstanding -= 1
        guard opened.outstanding == 0 else {
            open[record] = opened
            return
        }
        open[record] = nil
        pushes -= opened.pushes
        bytes -= opened.bytes
        ledger.complete(record)
    }

    /// When the push that has waited longest for its answer was sent; nil: none is out.
    var oldestSentSteadyMs: Int64? { units.values.compactMap(\.sentAtSteadyMs).min() }
}
