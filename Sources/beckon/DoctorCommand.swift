import AckTracker
import ArgumentParser
import ChallengeModel
import Challenges
import DispatcherWorker
import Doctor
import Foundation
import GuardedHTTP
import HTTPEdge
import Logging
import Producer
import PushGateway
import ServiceSupport
import Webhooks

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract:
            "Looks for mistakes in configuration, Kafka, store, provider credentials and webhooks, and says the mend.",
        discussion: """
            Reads the settings that the roles read: their flags, BECKON_… variables and the configuration file. Changes nothing,
            pushes to no device, and can be used on a system that serves.
            Exit status: 0 nothing was found (warnings do not count without --strict), 1 something was found, 2 wrong use,
            3 something that is needed gave no answer. docs/doctor.md lists all checks.
            """)

    @Option(
        name: .customLong("role"),
        help: "A role to examine; may be repeated. Default: producer, dispatcher, ack-tracker, webhooks.")
    var roles: [String] = []
    @Option(help: "Checks to run, separated by commas: kafka-name,apns.") var only: String?
    @Option(help: "Time for each look in milliseconds, 100 to 60000.") var timeout = "3000"
    @Flag(help: "Print one JSON object.") var json = false
    @Flag(help: "Warnings count as findings for the exit status.") var strict = false

    @Argument(parsing: .allUnrecognized, help: "Settings of the roles: --key value.")
    var settings: [String] = []

    func run() async throws {
        let report: Report
        do {
            let examination = try await examination()
            report = Report(
                await Doctor(examination, logger: Logger(label: "beckon.doctor") { _ in SwiftLogNoOpLogHandler() })
                    .examine())
        } catch let error as WrongUse {
            Terminal.error("Error: \(error.description)\n")
            throw ExitCode(2)
        }
        if json {
            Terminal.line(report.json(isStrict: strict))
        } else {
            let isColoured =
                isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["NO_COLOR"]?.isEmpty ?? true
            Terminal.line(report.text(isColoured: isColoured))
            Terminal.line()
            Terminal.line(report.summary)
        }
        let status = report.status(isStrict: strict)
        if status != 0 { throw ExitCode(status) }
    }

    private struct WrongUse: Error {
        let description: String

        init(_ description: String) { self.description = description }
    }

    private func examination() async throws -> Examination {
        let known = Role.allCases.filter(Role.workers.contains)
        let chosen = try (roles.isEmpty ? known.map(\.rawValue) : roles).map { name in
            guard let role = Role(rawValue: name), Role.workers.contains(role) else {
                throw WrongUse("--role \(name): expected one of \(known.map(\.rawValue).joined(separator: ", "))")
            }
            return role
        }
        guard let milliseconds = Int(timeout), (100...60_000).contains(milliseconds) else {
            throw WrongUse("--timeout: expected milliseconds from 100 to 60000, got \"\(timeout)\"")
        }
        let ids = Set((only ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
        if let unknown = ids.subtracting(Doctor.checks.map(\.id)).min() {
            throw WrongUse(
                "--only \(unknown): expected checks of \(Doctor.checks.map(\.id).joined(separator: ", "))")
        }
        let arguments = try Self.shared(settings, chosen)
        var examined: [ExaminedRole] = []
        for role in chosen where !examined.contains(where: { $0.role == role }) {
            examined.append(await ExaminedRole(role, arguments: arguments[role] ?? []))
        }
        var examination = Examination(examined)
        examination.only = ids
        examination.patience = .milliseconds(milliseconds)
        return examination
    }

    /// A flag goes to the roles that know it.
    /// - Throws: `WrongUse` for a flag that none of the roles knows.
    private static func shared(_ arguments: [String], _ roles: [Role]) throws(WrongUse) -> [Role: [String]] {
        var shared: [Role: [String]] = [:]
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            let flag = argument.split(separator: "=", maxSplits: 1).first.map(String.init) ?? argument
            let takers =
                Settings.all.first { $0.flag == flag }.map { about in roles.filter(about.roles.contains) } ?? []
            guard argument.hasPrefix("--"), !takers.isEmpty else {
                throw WrongUse(
                    "\(argument) is neither an option of beckon doctor nor a setting of \(roles.map(\.rawValue).joined(separator: ", ")); see beckon doctor --help"
                )
            }
            var taken = [argument]
            if !argument.contains("="), let value = rest.first, !value.hasPrefix("--") {
                taken.append(value)
                rest.removeFirst()
            }
            for role in takers { shared[role, default: []] += taken }
        }
        return shared
    }
}

extension ExaminedRole {
    /// Reads the settings with the role's own reader. What one part refuses does not hide the others.
    fileprivate init(_ role: Role, arguments: [String]) async {
        self.init(role)
        do {
            try fill(from: try await Settings(role: role, arguments: arguments))
        } catch {
            fault = "\(error)"
        }
    }

    private mutating func fill(from settings: Settings) throws {
        var faults: [String] = []
        func part(_ body: () throws -> Void) {
            do { try body() } catch {
                let said = "\(error)"
                if !faults.contains(said) { faults.append(said) }
            }
        }
        part {
            kafka = try settings.kafka()
            topics = TopicNames(prefix: try settings(Settings.topicPrefix))
        }
        part { recordKeys = try settings(Settings.recordKeys) }
        if let file = try settings.optional(Settings.config) {
            files.append(ExaminedFile(file, setting: Settings.config.description.key, content: .secret))
        }
        switch role {
        case .producer: part { try fillProducer(from: settings) }
        case .dispatcher: part { try fillDispatcher(from: settings) }
        case .ackTracker:
            part { groups = [try TrackerConfiguration(settings).groupID] }
        case .webhooks: part { try fillWebhooks(from: settings) }
        case .console, .broker, .simulator, .phone: break
        }
        if role == .producer || role == .webhooks {
            part { storeKeys = try settings(Settings.storeKeys) }
            part {
                store =
                    switch try StoreLocation(settings) {
                    case .file(let path): .file(path)
                    case .database(let database): .database(database)
                    }
                storeConnections = try settings(Settings.storeConnections)
            }
        }
        if !faults.isEmpty { fault = faults.joined(separator: "; ") }
    }

    private mutating func add(_ setting: Setting<String>, _ content: ExaminedFile.Content, _ settings: Settings) throws
    {
        guard let path = try settings.optional(setting) else { return }
        files.append(ExaminedFile(path, setting: setting.description.key, content: content))
    }

    private mutating func fillProducer(from settings: Settings) throws {
        for (certificate, key) in [
            (Settings.apiCertificate, Settings.apiKey), (Settings.deviceAPICertificate, Settings.deviceAPIKey),
        ] {
            try add(certificate, .certificates, settings)
            try add(key, .secret, settings)
        }
        let producer = try ProducerConfiguration(settings)
        groups = [producer.groupID]
        connections = producer.http.edge.maxConnections * (producer.deviceAPI == nil ? 1 : 2)
        _ = try (ChallengeLimits(settings), TokenBrake(settings), settings(Settings.configurationKeys))
    }

    private mutating func fillDispatcher(from settings: Settings) throws {
        try add(Settings.providersCAFile, .certificates, settings)
        gateway = try PushGatewayConfiguration(settings)
        let dispatcher = try DispatcherConfiguration(settings)
        groups = [dispatcher.groupID]
        readCredentials = { patience in
            let read = await ConfigurationReading.read(
                dispatcher, patience: patience,
                logger: Logger(label: "beckon.doctor") { _ in SwiftLogNoOpLogHandler() })
            var reading = CredentialReading()
            (reading.credentials, reading.faults, reading.isWhole) = (read.credentials, read.faults, read.isWhole)
            return reading
        }
    }

    private mutating func fillWebhooks(from settings: Settings) throws {
        try add(Settings.webhooksCAFile, .certificates, settings)
        try add(Settings.webhooksClientCertificateFile, .certificates, settings)
        try add(Settings.webhooksClientKeyFile, .secret, settings)
        let relay = try WebhookConfiguration(settings)
        groups = [relay.groupID]
        webhooks = ExaminedWebhooks(
            rules: relay.rules, nameServers: relay.nameServers, caFile: relay.caFile, identity: relay.clientIdentity)
    }
}
