import ChallengeModel
import PushProviders

/// The known facts about one device of a challenge when its push is about to be sent.
struct DeviceFacts: Hashable {
    /// The challenge has its final status.
    var isResolved = false
    /// This device has confirmed receipt.
    var isConfirmed = false
    /// Any device has confirmed receipt.
    var isConfirmedByAny = false
    /// A later dispatch to this device was read.
    var isOvertaken = false
    /// Kinds of this dispatch that have an outcome.
    var done: Set<PushKind> = []
    var isGone = false
    /// A newer registration than the record may hold.
    var registration: DispatchTarget?
    /// Background pushes of this challenge that went to this device.
    var backgroundUsed = 0
}

/// One planned push, or the reason why it is not made. The unit is (challenge, device, dispatch id, kind).
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

/// Plans the pushes of a dispatch, per device. A pure function of the record and the known facts.
enum PushPlanner {
    /// The pushes of one dispatch to one device. A decision about the whole device is reported once, with kind
    /// `visible`.
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
        // This check comes first: a push that was made before a restart, and whose challenge has expired since, was not
        // dropped because of its expiry.
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

    /// Extra time for a push that must be delivered now or never, because the record needs some time to arrive.
    static let pushExpirySlackMs: Int64 = 10_000

    /// The reason why this dispatch must not be pushed to the device any more. It is checked again before a retry.
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
            // The backend requested this resend and knows the devices' receipts.
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
        // The budget of an attempt is the remainder that the tracker knows. The budget of other dispatches is that of
        // the whole challenge.
        let used = id.isAttempt ? 0 : facts.backgroundUsed
        return dispatch.backgroundAllowed
            && PushProviders.traits(of: target.platform)?.takesBackgroundPushes ?? false
            && (facts.done.contains(.background) || used < Int(target.backgroundBudget))
    }
}
