import ArgumentParser
import CAllocator
import Challenges
import Foundation
import ServiceLifecycle
import ServiceSupport
import Webhooks

struct WebhooksCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "webhooks",
        abstract: "Posts events to the webhooks of services. Run any number of instances.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon webhooks --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.webhooks, arguments: settings)
        var configuration = try WebhookConfiguration(context.settings)
        configuration.tracer = context.tracer
        let location = try StoreLocation(context.settings)
        let store = try await CommandStore.advising(location) {
            try await location.openToRelay(context.settings, logger: context.logger)
        }
        let service: WebhookRelayService
        do {
            service = try WebhookRelayService(
                configuration: configuration, store: store, readiness: context.readiness, logger: context.logger,
                metrics: context.metrics)
        } catch {
            await store.close()
            throw error
        }
        try await context.run([StoreService(store: store), MemoryReturn(), service], kafka: configuration.kafka)
    }
}

/// Every ten seconds, gives the memory of closed connections back to the system: 0.1 MB for each TLS connection of a burst,
/// which the allocator would keep.
private struct MemoryReturn: ServiceLifecycle.Service {
    func run() async {
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(10))) != nil {
                DispatchQueue.global().async { beckon_trim_allocator() }
            }
        }
    }
}
