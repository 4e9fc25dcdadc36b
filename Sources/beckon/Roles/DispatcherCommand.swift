import ArgumentParser
import DispatcherWorker
import PushGateway
import ServiceSupport

struct DispatcherCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dispatcher", abstract: "Reads challenges from Kafka and pushes them; run any number of them.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon dispatcher --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.dispatcher, arguments: settings)
        var configuration = try DispatcherConfiguration(context.settings)
        configuration.tracer = context.tracer
        // The gateway is opened after all other checks, because an open gateway must be closed.
        let gateway = try PushGateway(
            configuration: try PushGatewayConfiguration(context.settings), logger: context.logger)
        let service: DispatcherService
        do {
            service = try DispatcherService(
                configuration: configuration, sender: gateway, readiness: context.readiness, logger: context.logger,
                metrics: context.metrics)
        } catch {
            await gateway.close(deadline: .zero)
            throw error
        }
        try await context.run([service], kafka: configuration.kafka)
    }
}
