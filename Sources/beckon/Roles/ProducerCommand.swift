import ArgumentParser
import Challenges
import Producer
import ServiceLifecycle
import ServiceSupport

struct ProducerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "producer",
        abstract: "Serves the HTTP API, reads requests from Kafka, relays the outbox and expires challenges.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon producer --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.producer, arguments: settings)
        let settings = context.settings
        let location = try StoreLocation(settings)
        let store = try await CommandStore.advising(location) {
            try await location.openToServe(settings, logger: context.logger)
        }
        var configuration = try ProducerConfiguration(settings)
        configuration.tracer = context.tracer
        let service = ProducerService(
            configuration: configuration, store: store, readiness: context.readiness,
            logger: context.logger, metrics: context.metrics)
        let scheme = try settings.optional(Settings.apiCertificate) == nil ? "http" : "https"
        let host = try settings(Settings.apiHost)
        let deviceAPI = configuration.deviceAPI
        try await context.run([StoreService(store: store), service], kafka: configuration.kafka) {
            var addresses = ["api": "\(scheme)://\(host):\(await service.boundPort ?? 0)"]
            if let device = deviceAPI, let port = await service.boundDevicePort {
                addresses["device_api"] = "\(device.tls == nil ? "http" : "https")://\(device.host):\(port)"
            }
            return addresses
        } reload: {
            await service.reloadCertificates()
        }
    }
}

/// Closes the store after everything that uses it.
struct StoreService: ServiceLifecycle.Service {
    let store: ChallengeStore

    func run() async throws {
        try? await gracefulShutdown()
        await store.close()
    }
}
