import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// The end of a partition: no more is taken, what is out is waited for, the rest is given back.
extension LaneState {
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

}
