import ArgumentParser
import ServiceSupport
import Simulators

struct SimulatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulator",
        abstract: "Simulates APNs, FCM and HMS strictly, over TLS and HTTP/2, with fault switches over HTTP.")

    @Argument(parsing: .captureForPassthrough, help: "See beckon simulator --help.")
    var settings: [String] = []

    func run() async throws {
        let context = try await RoleContext(.simulator, arguments: settings)
        let settings = context.settings
        var configuration = SimulatorConfiguration()
        configuration.host = try settings(Settings.simulatorHost)
        configuration.controlHost = configuration.host
        configuration.apnsPort = try settings(Settings.simulatorAPNsPort)
        configuration.fcmPort = try settings(Settings.simulatorFCMPort)
        configuration.hmsPort = try settings(Settings.simulatorHMSPort)
        configuration.controlPort = try settings(Settings.simulatorControlPort)
        let names = (try settings.optional(Settings.simulatorNames) ?? "").split(separator: ",").map(String.init)
        configuration.certificateHosts += names
        // 0.0.0.0 is an address to listen on, not one to connect to.
        configuration.publicHost = names.first ?? (configuration.host == "0.0.0.0" ? "127.0.0.1" : configuration.host)
        let providers = try SimulatedProviders(configuration: configuration, logger: context.logger)
        let caFile = try settings.optional(Settings.simulatorCAFile)
        if let caFile { try providers.certificates.writePEM(to: caFile) }
        try await context.run([providers]) {
            guard let addresses = try? await providers.addresses() else { return [:] }
            var content = [
                "apns": addresses.apnsURL, "fcm": addresses.fcmURL, "fcm_token": addresses.fcmTokenURL,
                "hms": addresses.hmsURL, "hms_token": addresses.hmsTokenURL, "control": addresses.controlURL,
            ]
            if let caFile { content["ca_file"] = caFile }
            return content
        }
    }
}
