import ChallengeModel
import PushProviders

/// What is known of one device of one challenge when its push is about to be sent.
struct DeviceFacts: Hashable {
    /// The challenge has its final status.
    var isResolved = false
    /// This device said "received".
    var isConfirmed = false
    /// Some device said "received".
    var isConfirmedByAny = false
    /// A later dispatch to this device was seen.
    var isOvertaken = false
    /// Kinds of this dispatch that have an outcome.
    var done: Set<PushKind> = []
    var isGone = false
    /// A newer registration than the record may hold.
    var registration: DispatchTarget?
    /// Background pushes of this challenge that went to this device.
    var backgroundUsed = 0
}

/// One push to make, or why not. (challenge, device, dispatch id, kind) is the unit.
struct PlannedPush: Hashable {
    enum Decision: Hashable {
        case push
        case drop(DropReason)
        /// It can never be sent.
        case reject(String)
    }

    var kind: PushKind
    /// The device as it is known now.
    var target: DispatchTarget
    var decision: Decision
}

/// What becomes of a dispatch, per device: a pure function of the record and of what is known.
enum PushPlanner {
    /// The pushes of one dispatch to one device. What concerns the whole device is one decision under kind `visible`.
    static func plan(
        _ recorded: DispatchTarget, of dispatch: ChallengeDispatch, id: DispatchID, facts: DeviceFacts, nowMs: Int64
    ) -> [PlannedPush] {
        var target = recorded
        if let registration = facts.registration, registration.registeredAtMs >= recorded.registeredAtMs {
            target = registration
            // The budget is the challenge's, not the registration's.
            target.backgroundBudget = recorded.backgroundBudget
        }
        var kinds: [PushKind] = [.visible]
        if hasBackgroundPush(target, of: dispatch, id: id, facts: facts) { kinds.append(.background) }
        // Said first: what was pushed before a restart and has expired since was not dropped for its expiry.
        if kinds.allSatisfy(facts.done.contains) { return [drop(.alreadyDone)] }
        if let reason = reasonToDrop(dispatch, id: id, facts: facts, nowMs: nowMs) { return [drop(reason)] }
        if let reason = unreachable(target, facts: facts) { return [reason] }
        return kinds.map { kind in
            PlannedPush(
                kind: kind, target: target, decision: facts.done.contains(kind) ? .drop(.alreadyDone) : .push)
        }

        func drop(_ reason: DropReason) -> PlannedPush {
            PlannedPush(kind: .visible, target: target, decision: .drop(reason))
        }
    }

    /// A push that is to be delivered now or never still needs its time on the way here.
    static let pushExpirySlackMs: Int64 = 10_000

    /// Why nothing of this dispatch may go to the device any more; asked again before a retry.
    static func reasonToDrop(
        _ dispatch: ChallengeDispatch, id: DispatchID, facts: DeviceFacts, nowMs: Int64
    ) -> DropReason? {
        if nowMs >= dispatch.expiresAtMs { return .expiredBeforePush }
        if dispatch.pushExpiresAtMs > 0, nowMs >= dispatch.pushExpiresAtMs + pushExpirySlackMs {
            return .expiredBeforePush
        }
        if facts.isResolved { return .resolvedBeforePush }
        switch id {
        case .resend:
            // The backend asked for it, knowing what the devices said.
            break
        case .creation:
            if facts.isConfirmed { return .confirmedBeforePush }
        case .attempt:
            let isAnyEnough = dispatch.redelivery.confirm == .any
            if facts.isConfirmed || isAnyEnough && facts.isConfirmedByAny { return .confirmedBeforePush }
        }
        if facts.isOvertaken { return .overtaken }
        if facts.isGone { return .deviceGone }
        return nil
    }

    private static func unreachable(_ target: DispatchTarget, facts: DeviceFacts) -> PlannedPush? {
        if PushProviders.traits(of: target.platform) != nil {
            guard target.pushToken.isEmpty else { return nil }
        } else if target.platform != .noPush {
            return PlannedPush(kind: .visible, target: target, decision: .reject("unsupported-platform"))
        }
        return PlannedPush(kind: .visible, target: target, decision: .drop(.noPushChannel))
    }

    private static func hasBackgroundPush(
        _ target: DispatchTarget, of dispatch: ChallengeDispatch, id: DispatchID, facts: DeviceFacts
    ) -> Bool {
        // An attempt's budget is what the tracker knows to be left, the others' is the whole challenge's.
        let used = id.isAttempt ? 0 : facts.backgroundUsed
        return dispatch.backgroundAllowed
            && PushProviders.traits(of: target.platform)?.takesBackgroundPushes ?? false
            && (facts.done.contains(.background) || used < Int(target.backgroundBudget))
    }
}
