import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// The end of a partition: no more records are taken, outstanding work is waited for, and the rest is given back.
extension LaneState {
    /// Takes no more records. Pushes that wait for a retry are given up. Their records stay open, and the next owner
    /// reads them again.
    mutating func drain() {
        isDraining = true
        for id in waiting.values.joined() {
            guard let unit = units.removeValue(forKey: id) else { continue }
            unrecorded.remove(unit.fingerprint)
        }
        waiting = [:]
    }

    /// True when no push and no write is outstanding.
    var isDrained: Bool { units.isEmpty && writes.isEmpty }
    var hasUnanswered: Bool { !units.isEmpty }
    /// True when no record is open, and nothing waits for a time.
    var isIdle: Bool { isDrained && open.isEmpty && timers.isEmpty }

    /// Call it when the time limit has passed. Pushes without an answer are recorded as unknown, and their records stay
    /// open.
    mutating func giveUp(now: Moment) -> [LaneStep] {
        var steps: [LaneStep] = []
        for (_, unit) in units {
            unrecorded.remove(unit.fingerprint)
            let answer = PushAnswer(disposition: .unknown, reason: OutcomeReason.drained)
            let outcome = builder.outcome(answer, of: unit.push, in: unit.dispatch, nowMs: now.epochMs)
            steps.append(
                .answered(AnsweredPush(platform: unit.push.platform, kind: unit.push.kind, disposition: .unknown)))
            // An outstanding count that is never acknowledged keeps the record open.
            open[unit.record]?.outstanding += 1
            steps.append(
                write(.outcome(outcome, traceparent: unit.dispatch.traceparent), record: unit.record, unit: nil))
        }
        units = [:]
        return steps
    }

    /// Call it when the partition is handed over. Open records are given back, known facts stay.
    mutating func reset() {
        _ = ledger.reset()
        open = [:]
        units = [:]
        unrecorded = []
        waiting = [:]
        writes = [:]
        timers = []
        ahead = [:]
        pushes = 0
        bytes = 0
    }

}
