/// A value that breaks a rule: which one, and what would be right. Never holds the value.
package struct RuleViolation: Error, Equatable, CustomStringConvertible {
    /// The parameter's name on the wire, or the field's in a record.
    package let parameter: String
    /// Reads behind "expected".
    package let expectation: String
    package let code: ProblemCode

    package init(_ parameter: String, _ expectation: String, code: ProblemCode = .invalidParameter) {
        self.parameter = parameter
        self.expectation = expectation
        self.code = code
    }

    package var description: String { "\(parameter): expected \(expectation)" }

    /// The same rule broken by a parameter of another name, or told under another code.
    package func renamed(_ parameter: String? = nil, code: ProblemCode? = nil) -> RuleViolation {
        RuleViolation(parameter ?? self.parameter, expectation, code: code ?? self.code)
    }
}
