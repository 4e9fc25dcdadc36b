import AckTracker
import ArgumentParser
import ServiceSupport

struct AckTrackerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ack-tracker", abstract: "Pushes again what no device has confirmed; one of any number.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon ack-tracker --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.ackTracker, arguments: settings)
        let configuration = try TrackerConfiguration(context.settings)
        let service = TrackerService(
            configuration: configuration, readiness: context.readiness, logger: context.logger,
            metrics: context.metrics)
        context.admin.serve(service.challengePage)
        try await context.run([service], kafka: configuration.kafka)
    }
}
