import ChallengeModel
import Challenges
import PushProviders
import Wire

/// The parameters of a request that creates a credential, for the provider's folder.
struct CredentialReader: CredentialParameters {
    var parameters: ParameterReader

    mutating func required(
        _ name: String, _ form: ParameterForm, length: ClosedRange<Int>
    ) throws(ParameterFault) -> String {
        do throws(RuleViolation) {
            return try parameters.required(name, length: length, form.shape)
        } catch {
            throw ParameterFault(error.parameter, error.expectation)
        }
    }

    mutating func optional(_ name: String, _ form: ParameterForm) throws(ParameterFault) -> String? {
        do throws(RuleViolation) {
            return try parameters.text(name, form.shape)
        } catch {
            throw ParameterFault(error.parameter, error.expectation)
        }
    }

    mutating func flag(_ name: String) throws(ParameterFault) -> Bool? {
        do throws(RuleViolation) {
            return try parameters.boolean(name)
        } catch {
            throw ParameterFault(error.parameter, error.expectation)
        }
    }
}

extension ParameterForm {
    fileprivate var shape: PlainText.Shape {
        switch self {
        case .line: .line
        case .lines: .lines
        }
    }
}

extension RuleViolation {
    init(_ fault: ParameterFault) { self.init(fault.parameter, fault.expectation) }
}
