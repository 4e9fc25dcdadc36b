import ChallengeModel
import DequeModule

/// What a lane knows about challenges beside the record in its hands: read from `outcomes`, `receipts`, `resolutions` and
/// from `challenges` itself. Facts are only ever added; any order ends in the same.
struct LaneFacts: Sendable {
    /// A device that changed since a record was written.
    struct DeviceChange: Hashable, Sendable {
        var isGone: Bool
        var registration: DispatchTarget?
    }

    /// Longer than any challenge lives.
    static let keepMs: Int64 = 3_720_000
    /// A push that is done is remembered until its challenge expires, but no longer than this.
    static let keepDoneMs: Int64 = 120_000
    /// A tracker's attempt overtakes this many before it; more are never outstanding.
    private static let overtakenAttempts = 8
    private static let maxChanges = 10_000

    private var done: FingerprintSet
    private var resolved: FingerprintSet
    private var confirmed: FingerprintSet
    private var overtaken: FingerprintSet
    private var background: FingerprintSet
    private var changes: [UInt64: (change: DeviceChange, untilMs: Int64)] = [:]
    private var changeOrder: Deque<(device: UInt64, untilMs: Int64)> = []

    init(doneBytes: Int, factBytes: Int) {
        done = FingerprintSet(spanMs: 15_000, maxBytes: doneBytes)
        resolved = FingerprintSet(spanMs: 60_000, maxBytes: factBytes / 3)
        confirmed = FingerprintSet(spanMs: 60_000, maxBytes: factBytes / 3)
        overtaken = FingerprintSet(spanMs: 60_000, maxBytes: factBytes / 6)
        background = FingerprintSet(spanMs: 60_000, maxBytes: factBytes / 6)
    }

    var bytes: Int { done.bytes + resolved.bytes + confirmed.bytes + overtaken.bytes + background.bytes }

    mutating func limit(doneBytes: Int, factBytes: Int) {
        done.limit(toBytes: doneBytes)
        for set in [\LaneFacts.resolved, \.confirmed] { self[keyPath: set].limit(toBytes: factBytes / 3) }
        for set in [\LaneFacts.overtaken, \.background] { self[keyPath: set].limit(toBytes: factBytes / 6) }
    }

    mutating func expire(nowMs: Int64) {
        done.expire(nowMs: nowMs)
        resolved.expire(nowMs: nowMs)
        confirmed.expire(nowMs: nowMs)
        overtaken.expire(nowMs: nowMs)
        background.expire(nowMs: nowMs)
        while let first = changeOrder.first, first.untilMs <= nowMs || changeOrder.count > Self.maxChanges {
            changeOrder.removeFirst()
            // A later change of the same device keeps it.
            if let latest = changes[first.device], latest.untilMs <= first.untilMs { changes[first.device] = nil }
        }
    }

    /// Pushes that were forgotten before their time since the last call: each could be repeated unnoticed.
    mutating func takeEvicted() -> Int { done.takeEvicted() }

    // MARK: - Facts come in

    mutating func resolve(challenge: String, nowMs: Int64) {
        resolved.insert(Fingerprint.challenge(challenge), untilMs: nowMs + Self.keepMs)
    }

    mutating func confirm(challenge: String, factor: String, nowMs: Int64) {
        confirmed.insert(Fingerprint.device(challenge: challenge, factor: factor), untilMs: nowMs + Self.keepMs)
        confirmed.insert(Fingerprint.challenge(challenge), untilMs: nowMs + Self.keepMs)
    }

    /// A push has its outcome.
    mutating func finish(_ unit: UInt64, expiresAtMs: Int64, nowMs: Int64) {
        guard expiresAtMs > nowMs else { return }
        done.insert(unit, untilMs: min(expiresAtMs, nowMs + Self.keepDoneMs))
    }

    /// A dispatch to this device was seen: those before it are overtaken.
    mutating func see(_ id: DispatchID, device: UInt64, expiresAtMs: Int64, nowMs: Int64) {
        guard expiresAtMs > nowMs else { return }
        let ranks: ClosedRange<Int>
        switch id {
        case .creation: return
        case .attempt(let number): ranks = max(0, Int(number) - Self.overtakenAttempts)...Int(number) - 1
        case .resend: ranks = 0...0
        }
        let until = min(expiresAtMs, nowMs + Self.keepMs)
        for rank in ranks { overtaken.insert(Fingerprint.overtaken(device: device, rank: rank), untilMs: until) }
        if ranks.lowerBound > 0 { overtaken.insert(Fingerprint.overtaken(device: device, rank: 0), untilMs: until) }
    }

    /// A background push of the challenge went to this device.
    mutating func useBackground(device: UInt64, expiresAtMs: Int64, nowMs: Int64) {
        guard expiresAtMs > nowMs else { return }
        background.insert(
            Fingerprint.background(device: device, count: backgroundUsed(device: device) + 1),
            untilMs: min(expiresAtMs, nowMs + Self.keepMs))
    }

    mutating func change(_ changed: DeviceChanged, nowMs: Int64) {
        let device = Fingerprint.device(challenge: changed.challengeSid, factor: changed.factorSid)
        var change = changes[device]?.change ?? DeviceChange(isGone: false, registration: nil)
        if changed.gone {
            change.isGone = true
        } else if changed.hasTarget {
            change.isGone = false
            if changed.target.registeredAtMs >= change.registration?.registeredAtMs ?? 0 {
                change.registration = changed.target
            }
        }
        changes[device] = (change, nowMs + Self.keepMs)
        changeOrder.append((device, nowMs + Self.keepMs))
    }

    /// An outcome that somebody else wrote, or we in another life.
    mutating func apply(_ outcome: PushOutcome, nowMs: Int64) {
        let isDone =
            switch outcome.disposition {
            // Drained away unanswered: whoever reads the record again pushes again, with the same identifiers.
            case .unknown: outcome.reason != OutcomeReason.drained
            // Says nothing that another outcome does not say.
            case .dropped: outcome.dropReason != .alreadyDone
            case .unspecified, .UNRECOGNIZED: false
            default: true
            }
        if isDone {
            finish(
                Fingerprint.unit(
                    challenge: outcome.challengeSid, factor: outcome.factorSid, dispatch: outcome.dispatchID,
                    kind: outcome.kind),
                expiresAtMs: outcome.expiresAtMs, nowMs: nowMs)
        }
        let device = Fingerprint.device(challenge: outcome.challengeSid, factor: outcome.factorSid)
        if let id = DispatchID(outcome.dispatchID) {
            see(id, device: device, expiresAtMs: outcome.expiresAtMs, nowMs: nowMs)
        }
        if outcome.usesBackground {
            useBackground(device: device, expiresAtMs: outcome.expiresAtMs, nowMs: nowMs)
        }
    }

    // MARK: - Facts are asked for

    func backgroundUsed(device: UInt64) -> Int {
        var count = 0
        while count < 255, background.contains(Fingerprint.background(device: device, count: count + 1)) { count += 1 }
        return count
    }

    func isDone(_ unit: UInt64) -> Bool { done.contains(unit) }

    /// - Parameter isOvertaken: a later record for the device is in the lane's hands.
    func facts(
        challenge: String, factor: String, device: UInt64, dispatch: String, id: DispatchID, isOvertaken: Bool
    ) -> DeviceFacts {
        var facts = DeviceFacts()
        let challengePrint = Fingerprint.challenge(challenge)
        facts.isResolved = resolved.contains(challengePrint)
        facts.isConfirmed = confirmed.contains(device)
        facts.isConfirmedByAny = facts.isConfirmed || confirmed.contains(challengePrint)
        facts.isOvertaken =
            isOvertaken
            || {
                switch id {
                case .creation: overtaken.contains(Fingerprint.overtaken(device: device, rank: 0))
                case .attempt(let number): overtaken.contains(Fingerprint.overtaken(device: device, rank: Int(number)))
                case .resend: false
                }
            }()
        if let change = changes[device]?.change {
            facts.isGone = change.isGone
            facts.registration = change.registration
        }
        for kind in [PushKind.visible, .background] {
            let unit = Fingerprint.unit(challenge: challenge, factor: factor, dispatch: dispatch, kind: kind)
            if isDone(unit) { facts.done.insert(kind) }
        }
        facts.backgroundUsed = backgroundUsed(device: device)
        return facts
    }
}

extension PushOutcome {
    /// A background push that the device may have got.
    var usesBackground: Bool { kind == .background && (disposition == .accepted || disposition == .unknown) }
}

/// Reasons of our own in outcomes.
enum OutcomeReason {
    /// The partition was handed over, or the worker stopped, with the answer outstanding.
    static let drained = "drained"
}
