import ArgumentParser
import ChallengeModel
import Foundation
import Logging
import ServiceSupport
import Simulators
import Wire

struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev", abstract: "Runs everything in one process, with a simulated phone that approves.",
        discussion:
            "Runs a broker, the store, all roles, the console, and simulators of APNs, FCM and HMS. Prints all addresses. Stop it with Ctrl-C."
    )

    @Option(help: "Port of the HTTP API; 0: any free one.")
    var apiPort = 0
    @Option(help: "Port of the console, the pages for people; 0: any free one.")
    var consolePort = 0
    @Option(help: "Port of /livez, /readyz and /metrics; 0: any free one.")
    var adminPort = 0
    @Option(
        help: ArgumentHelp(
            "File that gets the addresses as JSON when everything is ready (mode 0600).", valueName: "file"))
    var readyFile: String?
    @Option(help: "Identity that the simulated phone belongs to.")
    var identity = "person-00001"
    @Option(help: "Behaviour of the phone: \(PhoneBehaviour.forms).")
    var behaviour = "answers"
    @Option(help: "Lowest level of the log lines that go to stderr.")
    var logLevel = "warning"

    func validate() throws {
        guard PhoneBehaviour(behaviour) != nil else {
            throw ValidationError("--behaviour: \"\(behaviour)\" is not right; expected one of \(PhoneBehaviour.forms)")
        }
        guard Logger.Level(rawValue: logLevel) != nil else {
            throw ValidationError(
                "--log-level: expected one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        guard [apiPort, adminPort, consolePort].allSatisfy((0...65_535).contains) else {
            throw ValidationError("--api-port, --admin-port, --console-port: expected a port from 0 to 65535")
        }
    }

    func run() async throws {
        let cluster = try await DevCluster(
            apiPort: apiPort, adminPort: adminPort, consolePort: consolePort,
            logger: RoleContext.logger("beckon", level: Logger.Level(rawValue: logLevel) ?? .warning))
        try await cluster.run { try await live(in: cluster) }
    }

    private func live(in cluster: DevCluster) async throws {
        let playground = try await cluster.playground()
        let phone = try await playground.pool.enrol(
            serviceSID: playground.serviceSID, identity: identity, name: "phone-1",
            profile: PhonePool.Profile(behaviour: PhoneBehaviour(behaviour) ?? .answers))
        try await cluster.openDesk(playground, automatic: phone, of: identity)
        let addresses = try await cluster.addresses(serviceSID: playground.serviceSID, identity: identity)
        let json = try JSONEncoder.page.encode(addresses)
        Terminal.line(
            """
            Beckon is running. Stop it with Ctrl-C.
              console     \(addresses.console)  open it in a browser and make a phone ring
              HTTP API    \(addresses.api)
              Kafka       \(addresses.kafka) (topics \(cluster.names.prefix)*)
              metrics     \(addresses.metrics)
              simulators  APNs \(addresses.simulators.apns), FCM \(addresses.simulators.fcm), HMS \(addresses.simulators.hms)
              switches    \(addresses.simulators.control)
              phone       \(identity), behaviour: \(behaviour)
            """)
        if let readyFile {
            try RoleProcess.writeReadyFile(readyFile, json)
            Terminal.line("  These addresses and the credentials as JSON: \(readyFile)")
        } else {
            Terminal.line(String(decoding: json, as: UTF8.self))
        }
        await phone.run()
    }
}
