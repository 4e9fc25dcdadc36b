/// The state of a challenge: `pending`, then exactly one of the others, for good.
public enum ChallengeStatus: String, Sendable, Hashable, CaseIterable, Codable {
    case pending
    case approved
    case denied
    case expired
    case canceled
    case superseded

    public var isFinal: Bool { self != .pending }

    /// The word that the Verify v2 API has for it; old SDKs know no other.
    public var wireStatus: String {
        switch self {
        case .canceled, .superseded: "expired"
        default: rawValue
        }
    }

    /// Nil while pending.
    public var resolution: ResolutionStatus? {
        switch self {
        case .pending: nil
        case .approved: .approved
        case .denied: .denied
        case .expired: .expired
        case .canceled: .canceled
        case .superseded: .superseded
        }
    }
}

/// What someone asks of a challenge.
public enum ChallengeCommand: Hashable, Sendable, CaseIterable {
    case approve
    case deny
    case cancel
    case supersede
    /// The sweep, or a read that finds the clock past the expiry.
    case expire
}

/// What follows from a command.
public enum ChallengeDecision: Hashable, Sendable {
    /// Becomes this status, in one compare-and-set from `pending`.
    case become(ChallengeStatus)
    /// 60322: someone was first.
    case alreadyResponded
    /// 60323: the clock was first.
    case alreadyExpired
    /// `expire` before its time, or of a closed challenge: nothing to do.
    case unchanged
}

public enum ChallengeLifecycle {
    /// The whole life of a challenge as one function: expiry is by clock and wins over an answer that comes at or after it.
    /// - Parameters:
    ///   - status: as stored.
    ///   - expiresAtMs, nowMs: epoch milliseconds of one clock, the Producer's.
    public static func decide(
        _ command: ChallengeCommand, status: ChallengeStatus, expiresAtMs: Int64, nowMs: Int64
    ) -> ChallengeDecision {
        switch (status, command) {
        case (.pending, .expire):
            return nowMs >= expiresAtMs ? .become(.expired) : .unchanged
        case (.pending, _) where nowMs >= expiresAtMs:
            return .alreadyExpired
        case (.pending, .approve): return .become(.approved)
        case (.pending, .deny): return .become(.denied)
        case (.pending, .cancel): return .become(.canceled)
        case (.pending, .supersede): return .become(.superseded)
        case (_, .expire): return .unchanged
        case (.expired, _), (.canceled, _), (.superseded, _): return .alreadyExpired
        case (.approved, _), (.denied, _): return .alreadyResponded
        }
    }

    /// As it reads now: a pending challenge past its expiry is expired, whether or not the sweep has been there.
    public static func status(stored: ChallengeStatus, expiresAtMs: Int64, nowMs: Int64) -> ChallengeStatus {
        stored == .pending && nowMs >= expiresAtMs ? .expired : stored
    }
}
