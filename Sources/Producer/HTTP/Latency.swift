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
        // Digits only: `Int` also reads a sign.
        guard let milliseconds = UInt32(text).map({ Int($0) }), latencyMs.contains(milliseconds) else {
            throw RuleViolation(name, latencyExpectation)
        }
        return .fixed(milliseconds)
    }
}
