import ChallengeModel

/// How a challenge ended, and who decided it: for the metrics.
struct ChallengeOutcome: Sendable, Hashable {
    enum Responsible: String, CaseIterable, Sendable {
        case backend, beckon, device, person, provider
    }

    let status: String
    let responsible: Responsible

    /// - Parameter resolution: the first one of the challenge.
    /// - Returns: nil for a challenge whose dispatch was not read, and for an unknown status.
    init?(_ resolution: Resolution, of challenge: Held) {
        guard challenge.isBased else { return nil }
        switch resolution.status {
        case .approved: (status, responsible) = ("approved", .person)
        case .denied: (status, responsible) = ("denied", .person)
        case .canceled: (status, responsible) = ("canceled", .backend)
        case .superseded: (status, responsible) = ("superseded", .backend)
        case .expired: (status, responsible) = ("expired", Self.responsible(for: challenge))
        case .resolutionUnspecified, .UNRECOGNIZED: return nil
        }
    }

    private static func responsible(for challenge: Held) -> Responsible {
        if challenge.flags.contains(.confirmed) { return .person }
        if challenge.flags.contains(.dispatched) { return .device }
        let devices = [challenge.device] + (challenge.others ?? [])
        let hasFailed = devices.contains { $0.answered != 0 || $0.deferredAt != 0 || $0.faultAt != 0 }
        return hasFailed ? .provider : .beckon
    }
}
