import NIOCore
import NIOPosix
import Testing

@testable import Simulators

@Suite("Starting the simulators", .timeLimit(.minutes(5)))
struct StartTests {
    @Test("a port in use says which flag to set", arguments: ["apns", "fcm", "hms", "control"])
    func portInUse(port: String) async throws {
        let taken = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .bind(host: "127.0.0.1", port: 0).get()
        let number = try #require(taken.localAddress?.port)
        var configuration = SimulatorConfiguration()
        switch port {
        case "apns": configuration.apnsPort = number
        case "fcm": configuration.fcmPort = number
        case "hms": configuration.hmsPort = number
        default: configuration.controlPort = number
        }
        let providers = try SimulatedProviders(configuration: configuration, logger: quiet)
        let error = await #expect(throws: SimulatorError.self) { try await providers.run() }
        #expect(error?.message.contains("Set --simulator-\(port)-port") == true)
        try await taken.close()
    }
}
