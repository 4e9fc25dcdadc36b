/// The status of a challenge: first `pending`, then exactly one of the others, which is final.
public enum ChallengeStatus: String, Sendable, Hashable, CaseIterable, Codable {
    case pending
    case approved
    case denied
    case expired
    case canceled
    case superseded

    public var isFinal: Bool { self != .pending }

    /// The status word of the Verify v2 API. Old SDKs know no other words.
    public var wireStatus: String {
        switch self {
        case .canceled, .superseded: "expired"
        default: rawValue
        }
    }

    /// The final statuses that read as `expired` in the Verify v2 API.
    public static let readAsExpired = allCases.filter { $0.isFinal && $0.wireStatus == expired.wireStatus }

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

/// A command that changes the status of a challenge.
public enum ChallengeCommand: Hashable, Sendable, CaseIterable {
    case approve
    case deny
    case cancel
    case supersede
    /// Sent by the sweep, or by a read after the expiry.
    case expire
}

/// The result of a command.
public enum ChallengeDecision: Hashable, Sendable {
    /// Set this status in one compare-and-set from `pending`.
    case become(ChallengeStatus)
    /// 60322: another answer was first.
    case alreadyResponded
    /// 60323: the expiry was first.
    case alreadyExpired
    /// Nothing to do: `expire` before the expiry, or for a closed challenge.
    case unchanged
}

public enum ChallengeLifecycle {
    /// The whole lifecycle of a challenge as one function. The clock decides about the expiry, and an answer at or
    /// after the expiry is too late.
    /// - Parameters:
    ///   - status: the stored status.
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

    /// The current status: a pending challenge after its expiry is expired, even when the sweep has not closed it yet.
    public static func status(stored: ChallengeStatus, expiresAtMs: Int64, nowMs: Int64) -> ChallengeStatus {
        stored == .pending && nowMs >= expiresAtMs ? .expired : stored
    }
}
