import ArgumentParser
import AsyncHTTPClient
import Challenges
import Console
import ServiceLifecycle
import ServiceSupport

struct ConsoleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console", abstract: "Serves pages for people: the state of the system, from its metrics.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon console --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.console, arguments: settings)
        let configuration = try ConsoleConfiguration(context.settings)
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        let result: Result<Void, any Error>
        do {
            let letters = try await ConsoleDeadLetters.opened(context, configuration)
            let service: ConsoleService
            do {
                service = try ConsoleService(
                    configuration, client: client, readiness: context.readiness, metrics: context.metrics,
                    logger: context.logger, deadLetters: letters?.box)
            } catch {
                await letters?.store.close()
                throw error
            }
            let store: [any ServiceLifecycle.Service] = letters.map { [StoreService(store: $0.store)] } ?? []
            try await context.run(store + [service]) {
                ["console": try await service.url()]
            } reload: {
                await service.reloadCertificate()
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try? await client.shutdown()
        try result.get()
    }
}
