/// How far the question has come on one device. A join of facts: any order of the same facts ends in the same state.
public struct DeliveryState: Hashable, Sendable {
    /// A receipt came (app, poll or provider), or the device answered. For good.
    public var confirmed = false
    /// The device said that it shows no notifications.
    public var hidden = false
    /// Why no push can reach it any more: `token-dead`, `refused`, `no-device`; nil while it can.
    public var unreachable: Unreachable?
    /// Dispatch ids whose visible push a provider accepted.
    public var accepted: Set<DispatchID> = []

    public init() {}

    public enum Unreachable: String, Hashable, Sendable, CaseIterable, Comparable {
        case tokenDead = "token-dead"
        case refused
        case noDevice = "no-device"

        public static func < (lhs: Unreachable, rhs: Unreachable) -> Bool { lhs.rawValue < rhs.rawValue }
    }

    public enum Fact: Hashable, Sendable {
        case outcome(DispatchID, PushKind, Disposition)
        case receipt(Shown)
        case answered
        case gone
        /// A new push token: what was dead can be tried again. The fold gives each registration its own state.
        case registeredAnew
    }

    /// Where a device stands, from the facts so far.
    public enum Phase: String, Hashable, Sendable, CaseIterable {
        case waiting
        case accepted
        case unreachable
        case confirmed
    }

    public var phase: Phase {
        if confirmed { return .confirmed }
        if unreachable != nil { return .unreachable }
        return accepted.isEmpty ? .waiting : .accepted
    }

    public mutating func apply(_ fact: Fact) {
        switch fact {
        case .outcome(let dispatch, .visible, .accepted):
            accepted.insert(dispatch)
        case .outcome(_, _, .tokenDead):
            unreachable = max(unreachable ?? .tokenDead, .tokenDead)
        case .outcome(_, .visible, .rejected):
            unreachable = max(unreachable ?? .refused, .refused)
        case .outcome:
            break
        case .receipt(let shown):
            confirmed = true
            if shown == .no { hidden = true }
        case .answered:
            confirmed = true
        case .gone:
            unreachable = max(unreachable ?? .noDevice, .noDevice)
        case .registeredAnew:
            if unreachable != .noDevice { unreachable = nil }
        }
    }
}

extension DropReason {
    /// As metrics and timelines say it.
    public var word: String {
        switch self {
        case .expiredBeforePush: "expired"
        case .resolvedBeforePush: "resolved"
        case .confirmedBeforePush: "confirmed"
        case .overtaken: "overtaken"
        case .alreadyDone: "already-done"
        case .noPushChannel: "no-push-channel"
        case .deviceGone: "device-gone"
        case .unspecified, .UNRECOGNIZED: "other"
        }
    }
}
