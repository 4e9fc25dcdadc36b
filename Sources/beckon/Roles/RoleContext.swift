import ArgumentParser
import Foundation
import KafkaClient
import Logging
import ServiceLifecycle
import ServiceSupport
import Wire

/// The parts that the process of every role has: settings, logger, metrics, readiness and the admin port.
struct RoleContext: Sendable {
    let role: Role
    let settings: Settings
    let logger: Logger
    let metrics: PrometheusRegistry
    let readiness: Readiness
    let admin: AdminServer
    /// Nil: `tracing.endpoint` is not set, and no spans are made.
    let tracer: ServiceTracer?
    private let exporter: SpanExporter?
    private let level: LogLevel
    private let arguments: [String]

    /// Reads the settings; prints the role's help and ends when asked.
    init(_ role: Role, arguments: [String]) async throws {
        if arguments.contains(where: { ["--help", "-h"].contains($0) }) {
            print("USAGE: beckon \(role.rawValue) [--key value …]\n\n\(Settings.help(for: role))")
            throw ExitCode.success
        }
        // SIGHUP is ignored also before the service that handles it runs.
        signal(SIGHUP, SIG_IGN)
        self.role = role
        settings = try await Settings(role: role, arguments: arguments)
        self.arguments = arguments
        level = LogLevel(try settings(Settings.logLevel))
        logger = Logger.beckon(role.rawValue, format: try settings(Settings.logFormat), level: level)
        let isProxySet = try role == .dispatcher && settings.optional(Settings.providersProxy) != nil
        if let notice = ProxyVariables.notice(
            role: role, isProxySet: isProxySet, environment: ProcessInfo.processInfo.environment)
        {
            logger.warning("\(notice)")
        }
        metrics = PrometheusRegistry(MetricCatalogue.families(of: role))
        readiness = Readiness()
        ProcessMetrics.observe(
            in: metrics, role: role.rawValue, version: Beckon.configuration.version, readiness: readiness)
        admin = AdminServer(
            host: try settings(Settings.adminHost), port: try settings(Settings.adminPort), readiness: readiness,
            metrics: metrics, logger: logger,
            token: Role.workers.contains(role) ? try settings.optional(Settings.adminToken) : nil, level: level)
        for address in try Self.addresses(role, settings) { try await address.check() }
        guard Role.workers.contains(role), let tracing = try TracingConfiguration(settings) else {
            (tracer, exporter) = (nil, nil)
            return
        }
        let tracer = ServiceTracer(ratio: tracing.ratio)
        let exporter = SpanExporter(
            tracing, tracer: tracer, role: role.rawValue, version: Beckon.configuration.version,
            instance: UUID().uuidString.lowercased(), logger: logger)
        exporter.observe(in: metrics)
        (self.tracer, self.exporter) = (tracer, exporter)
    }

    /// The addresses that the role listens on.
    private static func addresses(_ role: Role, _ settings: Settings) throws(SettingsError) -> [ListenAddress] {
        var addresses: [ListenAddress] = []
        func add(_ name: String, _ host: Setting<String>, _ port: Setting<Int>) throws(SettingsError) {
            addresses.append(
                ListenAddress(
                    name, host: try settings(host), port: try settings(port), hostFlag: host.description.flag,
                    portFlag: port.description.flag))
        }
        try add("admin port", Settings.adminHost, Settings.adminPort)
        switch role {
        case .producer:
            try add("HTTP API", Settings.apiHost, Settings.apiPort)
            if let port = try settings.optional(Settings.deviceAPIPort) {
                addresses.append(
                    ListenAddress(
                        "HTTP API for devices", host: try settings(Settings.deviceAPIHost), port: port,
                        hostFlag: Settings.deviceAPIHost.description.flag,
                        portFlag: Settings.deviceAPIPort.description.flag))
            }
        case .simulator:
            for (name, port) in [
                ("APNs simulator", Settings.simulatorAPNsPort), ("FCM simulator", Settings.simulatorFCMPort),
                ("HMS simulator", Settings.simulatorHMSPort), ("simulator control", Settings.simulatorControlPort),
            ] { try add(name, Settings.simulatorHost, port) }
        case .console: try add("console", Settings.consoleHost, Settings.consolePort)
        case .dispatcher, .ackTracker, .webhooks, .broker, .phone: break
        }
        return addresses
    }

    static func logger(_ label: String, level: Logger.Level) -> Logger {
        Logger.beckon(label, format: .text, level: LogLevel(level))
    }

    /// Runs the role until SIGTERM. The admin port starts first, so it stops last. The ready file is written last.
    /// - Parameters:
    ///   - kafka: the configuration of the role's Kafka clients; nil: it has none.
    ///   - addresses: the addresses in the ready file besides `admin`; called when the role is ready.
    ///   - reload: called at each SIGHUP.
    func run(
        _ services: [any Service], kafka: KafkaConfiguration? = nil,
        addresses: @escaping @Sendable () async throws -> [String: String] = { [:] },
        reload: @escaping @Sendable () async -> Void = {}
    ) async throws {
        let path = try settings.optional(Settings.readyFile)
        let started = StartedService {
            let port = try await admin.boundPort()
            var content = try await addresses()
            content["admin"] = "http://\(try settings(Settings.adminHost)):\(port)"
            var isWaiting = false
            while !readiness.isReady {
                if !isWaiting {
                    isWaiting = true
                    logger.info("not ready yet", metadata: ["reasons": "\(readiness.reasons)"])
                }
                try await Task.sleep(for: .milliseconds(20))
            }
            logger.info("ready", metadata: Logger.Metadata(uniqueKeysWithValues: content.map { ($0, "\($1)") }))
            if let path {
                try RoleProcess.writeReadyFile(path, try JSONEncoder.line.encode(content))
            }
        }
        try await RoleProcess.run(
            [admin] + (exporter.map { [$0] } ?? [])
                + (kafka.map { [KafkaReadiness($0.diagnosis, readiness: readiness)] } ?? []) + services + [started],
            shutdownTimeout: try settings(Settings.shutdownTimeout), logger: logger
        ) {
            await configureLevel()
            await reload()
        }
        logger.info("stopped")
    }

    /// Reads the log level again. Of the three sources, only the file can have changed. The level of the configuration
    /// also replaces one that was set on the admin port.
    private func configureLevel() async {
        do {
            level.configure(try await Settings(role: role, arguments: arguments)(Settings.logLevel))
        } catch {
            logger.error("the settings cannot be read again: the log level stays", metadata: ["error": "\(error)"])
        }
    }
}
