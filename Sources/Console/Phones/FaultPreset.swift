import Simulators

/// The faults of a provider that one choice on the page switches on.
enum FaultPreset: String, CaseIterable {
    case none, slow, half, fails, silent, loses

    var title: String {
        switch self {
        case .none: "works"
        case .slow: "answers a second late"
        case .half: "fails for every second push"
        case .fails: "fails for every push"
        case .silent: "never answers"
        case .loses: "accepts pushes and loses them"
        }
    }

    var faults: ProviderFaults {
        var faults = ProviderFaults()
        switch self {
        case .none: break
        case .slow: (faults.latencyMs, faults.latencyJitterMs) = (800, 400)
        case .half: faults.errorShare = 0.5
        case .fails: faults.errorShare = 1
        case .silent: faults.neverAnswerShare = 1
        case .loses: faults.dropShare = 1
        }
        return faults
    }

    /// Nil: other faults, set at the simulator's control address.
    init?(_ faults: ProviderFaults) {
        guard let preset = Self.allCases.first(where: { $0.faults == faults }) else { return nil }
        self = preset
    }
}
