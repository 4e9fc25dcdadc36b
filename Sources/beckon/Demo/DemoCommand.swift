import ArgumentParser
import Foundation
import Logging

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "A guided tour with real traffic; exits 0 only if every step did what it says.")

    @Option(help: "Least level of log lines, which go to stderr.")
    var logLevel = "error"

    func run() async throws {
        let started = ContinuousClock.now
        let logger = RoleContext.logger("beckon", level: Logger.Level(rawValue: logLevel) ?? .error)
        let cluster = try await DevCluster(apiPort: 0, adminPort: 0, logger: logger)
        let failures = FailureCount()
        try await cluster.run {
            Terminal.line(
                "Beckon, a guided tour: backend, Kafka stand-in, dispatcher, APNs and FCM look-alikes, phones.")
            let playground = try await cluster.playground()
            Terminal.line("Everything is up after \((ContinuousClock.now - started).short).\n")
            try await Tour(cluster: cluster, playground: playground).run(counting: failures)
        }
        guard failures.isFinished else { throw StepFailed("the tour was interrupted") }
        let took = (ContinuousClock.now - started).short
        guard failures.count == 0 else {
            Terminal.line("\n\(failures.count) of \(Tour.steps.count) steps did not do what they say (\(took)).")
            throw ExitCode.failure
        }
        Terminal.line("\nAll \(Tour.steps.count) steps did what they say (\(took)).")
    }
}
