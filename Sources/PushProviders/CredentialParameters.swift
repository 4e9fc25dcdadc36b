/// The parameters of a request that creates a credential.
package protocol CredentialParameters {
    /// - Parameter length: in Unicode scalars.
    mutating func required(_ name: String, _ form: ParameterForm, length: ClosedRange<Int>) throws(ParameterFault)
        -> String
    /// Nil when the parameter was not sent.
    mutating func optional(_ name: String, _ form: ParameterForm) throws(ParameterFault) -> String?
    /// Reads `true` or `false`; nil when the parameter was not sent.
    mutating func flag(_ name: String) throws(ParameterFault) -> Bool?
}

extension CredentialParameters {
    package mutating func required(_ name: String, _ form: ParameterForm = .line) throws(ParameterFault) -> String {
        try required(name, form, length: 1...Int.max)
    }
}

package enum ParameterForm: Sendable {
    case line
    /// Line breaks are allowed.
    case lines
}

/// A parameter that breaks a rule.
package struct ParameterFault: Error, Equatable {
    package let parameter: String
    /// The text that follows "expected" in the error message.
    package let expectation: String

    package init(_ parameter: String, _ expectation: String) {
        self.parameter = parameter
        self.expectation = expectation
    }
}
