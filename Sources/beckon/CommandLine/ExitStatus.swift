import ArgumentParser
import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import ServiceSupport
import Simulators

/// The exit statuses of commands. Status 64 is ArgumentParser's, for an unknown option or a missing argument.
enum ExitStatus {
    /// A part of the work is not done, or a check found a fault.
    static let partly = ExitCode(1)
    /// The settings or the arguments are wrong. Nothing was done.
    static let wrongUse = ExitCode(2)
    /// Kafka, the store, the API or the process did not answer.
    static let unreachable = ExitCode(3)

    /// The status of an error that ends a command.
    static func of(_ error: any Error) -> ExitCode? {
        switch error {
        case is SettingsError: wrongUse
        case is KafkaError: unreachable
        case let failure as CommandFailure: failure.status
        case let error as BackendError: error.status == 0 ? unreachable : partly
        default: nil
        }
    }

    /// Prints the error and ends the process.
    /// - Parameter isRole: a role ends with 1 for every fault at its start.
    static func end(_ error: any Error, isRole: Bool) -> Never {
        guard !isRole, let status = of(error) else { Beckon.exit(withError: error) }
        Terminal.error("Error: \(error)\n")
        Beckon.exit(withError: status)
    }
}
