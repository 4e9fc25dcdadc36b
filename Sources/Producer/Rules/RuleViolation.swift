/// A value that breaks a rule: which one, and what would be right. Never holds the value.
struct RuleViolation: Error, Equatable, CustomStringConvertible {
    /// The parameter's name on the wire, or the field's in a record.
    let parameter: String
    /// Reads behind "expected".
    let expectation: String
    let code: APICode

    init(_ parameter: String, _ expectation: String, code: APICode = .invalidParameter) {
        self.parameter = parameter
        self.expectation = expectation
        self.code = code
    }

    var description: String { "\(parameter): expected \(expectation)" }

    /// The same rule broken by a parameter of another name, or told under another code.
    func renamed(_ parameter: String? = nil, code: APICode? = nil) -> RuleViolation {
        RuleViolation(parameter ?? self.parameter, expectation, code: code ?? self.code)
    }
}
