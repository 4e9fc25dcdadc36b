import ChallengeModel
import DequeModule

/// The facts about challenges that a lane knows: from `outcomes`, `receipts`, `resolutions` and `challenges`. Facts are
/// only added, and any order gives the same result.
struct LaneFacts: Sendable {
    /// A device that has changed since a record was written.
    struct DeviceChange: Hashable, Sendable {
        var isGone: Bool
        var registration: DispatchTarget?
    }

    /// How long facts are kept; longer than the life of any challenge.
    static let keepMs: Int64 = 3_720_000
    /// A finished push is remembered until its challenge expires, but at most for this time.
    static let keepDoneMs: Int64 = 120_000
    /// Number of earlier attempts that a tracker's attempt overtakes. More are never outstanding.
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
            // A later change of the same device is kept.
            if let latest = changes[first.device], latest.untilMs <= first.untilMs { changes[first.device] = nil }
        }
    }

    /// Number of pushes that were forgotten too early since the last call. Each may be repeated without being
    /// recognised.
    mutating func takeEvicted() -> Int { done.takeEvicted() }

    // MARK: - Facts come in

    mutating func resolve(challenge: String, nowMs: Int64) {
        resolved.insert(Fingerprint.challenge(challenge), untilMs: nowMs + Self.keepMs)
    }

    /// - Parameter isSeen: false: the person cannot see the challenge on that device, so other devices are still
    ///   needed.
    mutating func confirm(challenge: String, factor: String, isSeen: Bool = true, nowMs: Int64) {
        confirmed.insert(Fingerprint.device(challenge: challenge, factor: factor), untilMs: nowMs + Self.keepMs)
        if isSeen { confirmed.insert(Fingerprint.challenge(challenge), untilMs: nowMs + Self.keepMs) }
    }

    /// Call it when a push has its outcome.
    mutating func finish(_ unit: UInt64, expiresAtMs: Int64, nowMs: Int64) {
        guard expiresAtMs > nowMs else { return }
        done.insert(unit, untilMs: min(expiresAtMs, nowMs + Self.keepDoneMs))
    }

    /// Call it when a dispatch to this device was read. Earlier dispatches are then overtaken.
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

    /// Call it when a background push of the challenge was sent to this device.
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

    /// Applies an outcome of another writer, or of this worker before a restart.
    mutating func apply(_ outcome: PushOutcome, nowMs: Int64) {
        let isDone =
            switch outcome.disposition {
            // The push had no answer at a drain. The next reader of the record pushes again, with the same identifiers.
            case .unknown: outcome.reason != OutcomeReason.drained
            // This outcome adds nothing to another outcome.
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

    /// - Parameter isOvertaken: true when the lane already has a later record for the device.
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
    /// Whether this is a background push that the device may have received.
    var usesBackground: Bool { kind == .background && (disposition == .accepted || disposition == .unknown) }
}

/// Beckon's own reasons in outcomes.
enum OutcomeReason {
    /// The partition was handed over, or the worker stopped, while the answer was outstanding.
    static let drained = "drained"
}
