import Challenges

/// The parameters of a service that set the defaults of the extensions. An empty value restores Beckon's default.
enum PolicySettings {
    static func read(_ parameters: inout ParameterReader) throws(RuleViolation) -> [ServicePolicy.Change] {
        let unset = ServicePolicy()
        var changes: [ServicePolicy.Change] = []
        func add(_ change: ServicePolicy.Change?) { if let change { changes.append(change) } }
        add(
            try parameters.resettable("Push.FanOut", unset: unset.isFanOutAllowed) {
                parameters, name throws(RuleViolation) in
                try parameters.boolean(name)
            }.map { .fanOut($0) })
        add(
            try parameters.resettable("Push.NumberMatching", unset: false) { parameters, name throws(RuleViolation) in
                try parameters.choice(name, ["required": true, "off": false])
            }.map { .numberRequired($0) })
        add(
            try parameters.resettable("Push.NumberDigits", unset: unset.numberDigits) {
                parameters, name throws(RuleViolation) in
                try parameters.integer(name, in: ChallengeRules.numberDigits)
            }.map { .numberDigits($0) })
        add(
            try parameters.resettable("Push.RequireSession", unset: unset.requiresSession) {
                parameters, name throws(RuleViolation) in
                try parameters.boolean(name)
            }.map { .sessionRequired($0) })
        add(
            try parameters.resettable("Push.Redelivery.MaxAttempts", unset: Int?.none) {
                parameters, name throws(RuleViolation) in
                try parameters.integer(name, in: ChallengeRules.maxAttempts)
            }.map { .maxAttempts($0) })
        add(
            try parameters.resettable("Push.Redelivery.ExpectedLatency", unset: .unset) {
                parameters, name throws(RuleViolation) in
                try ChallengeRules.latency(&parameters, name)
            }.map { .expectedLatency($0.milliseconds, isAdaptive: $0 == .adaptive) })
        add(
            try parameters.resettable("Push.Redelivery.Confirm", unset: false) {
                parameters, name throws(RuleViolation) in
                try parameters.choice(name, ["each": false, "any": true])
            }.map { .confirmsByAny($0) })
        add(try fallbacks(&parameters).map { .fallbacks($0) })
        add(
            try parameters.resettable("Push.MaxFactors", unset: unset.maxFactors) {
                parameters, name throws(RuleViolation) in
                try parameters.integer(name, in: 1...20)
            }.map { .maxFactors($0) })
        add(
            try parameters.resettable("Push.WhenFull", unset: unset.whenFull) {
                parameters, name throws(RuleViolation) in
                try parameters.choice(name, ["refuse": .refuse, "replace-oldest": .replaceOldest])
            }.map { .whenFull($0) })
        add(
            try parameters.resettable("Push.UnreachableFactors", unset: unset.unreachableFactors) {
                parameters, name throws(RuleViolation) in
                try parameters.choice(
                    name, ["after-30-days": .after30Days, "at-once": .atOnce, "never": .never])
            }.map { .unreachableFactors($0) })
        return changes
    }

    private static func fallbacks(_ parameters: inout ParameterReader) throws(RuleViolation) -> [String]? {
        let name = "Push.Fallback"
        if try parameters.isEmptied(name) { return [] }
        let values = try parameters.list(name)
        guard !values.isEmpty else { return nil }
        do {
            return try ChallengeRules.fallbacks(values)
        } catch {
            throw error.renamed(name)
        }
    }
}

extension ParameterReader {
    /// Reads a value; `unset` for an empty value; nil when the parameter was not sent.
    fileprivate mutating func resettable<Value>(
        _ name: String, unset: Value,
        _ read: (inout ParameterReader, String) throws(RuleViolation) -> Value?
    ) throws(RuleViolation) -> Value? {
        try text(name) == "" ? unset : read(&self, name)
    }
}
