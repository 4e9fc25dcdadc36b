import Challenges

extension ChallengeRules {
    enum Latency: Equatable {
        case unset
        case fixed(Int)
        case adaptive

        var milliseconds: Int? { if case .fixed(let latencyMs) = self { latencyMs } else { nil } }
    }

    /// Nil when it was not sent.
    static func latency(_ parameters: inout ParameterReader, _ name: String) throws(RuleViolation) -> Latency? {
        guard let text = try parameters.text(name) else { return nil }
        if text == "adaptive" { return .adaptive }
        guard let latencyMs = UInt32(text), (500...60_000).contains(latencyMs) else {
            throw RuleViolation(name, "milliseconds from 500 to 60000, or adaptive")
        }
        return .fixed(Int(latencyMs))
    }
}
