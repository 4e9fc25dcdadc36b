import AckTracker
import ArgumentParser
import ServiceSupport

struct AckTrackerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ack-tracker",
        abstract: "Pushes challenges again that no device has confirmed; run any number of them.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon ack-tracker --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.ackTracker, arguments: settings)
        var configuration = try TrackerConfiguration(context.settings)
        configuration.tracer = context.tracer
        let service = TrackerService(
            configuration: configuration, readiness: context.readiness, logger: context.logger,
            metrics: context.metrics)
        context.admin.serve(service.challengePage)
        try await context.run([service], kafka: configuration.kafka)
    }
}
