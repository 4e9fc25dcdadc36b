/// A parameter that breaks a rule, with the expected form. It never contains the value.
package struct RuleViolation: Error, Equatable, CustomStringConvertible {
    /// The name of the parameter on the wire, or of the field in a record.
    package let parameter: String
    /// The text that follows "expected" in the error message.
    package let expectation: String
    package let code: ProblemCode

    package init(_ parameter: String, _ expectation: String, code: ProblemCode = .invalidParameter) {
        self.parameter = parameter
        self.expectation = expectation
        self.code = code
    }

    package var description: String { "\(parameter): expected \(expectation)" }

    /// The same violation with another parameter name or another code.
    package func renamed(_ parameter: String? = nil, code: ProblemCode? = nil) -> RuleViolation {
        RuleViolation(parameter ?? self.parameter, expectation, code: code ?? self.code)
    }
}
