import ArgumentParser
import Foundation
import Logging

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "Runs a guided tour with real traffic; exits with 0 only if every step succeeds."
    )

    @Option(help: "Lowest level of the log lines that go to stderr.")
    var logLevel = "error"

    func run() async throws {
        let started = ContinuousClock.now
        let logger = RoleContext.logger("beckon", level: Logger.Level(rawValue: logLevel) ?? .error)
        let cluster = try await DevCluster(apiPort: 0, adminPort: 0, logger: logger)
        let failures = FailureCount()
        try await cluster.run {
            Terminal.line(
                "A guided tour of Beckon: backend, embedded Kafka broker, dispatcher, simulators of APNs and FCM, phones."
            )
            let playground = try await cluster.playground()
            Terminal.line("Everything is ready after \((ContinuousClock.now - started).short).\n")
            try await Tour(cluster: cluster, playground: playground).run(counting: failures)
        }
        guard failures.isFinished else { throw StepFailed("the tour was interrupted") }
        let took = (ContinuousClock.now - started).short
        guard failures.count == 0 else {
            Terminal.line("\n\(failures.count) of \(Tour.steps.count) steps failed (\(took)).")
            throw ExitCode.failure
        }
        Terminal.line("\nAll \(Tour.steps.count) steps did what they say (\(took)).")
    }
}
