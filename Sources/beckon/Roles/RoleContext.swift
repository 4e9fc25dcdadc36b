import ArgumentParser
import Foundation
import KafkaClient
import Logging
import ServiceLifecycle
import ServiceSupport

/// What every role's process has: settings, logger, metrics, readiness and the admin port.
struct RoleContext: Sendable {
    let role: Role
    let settings: Settings
    let logger: Logger
    let metrics: PrometheusRegistry
    let readiness: Readiness
    let admin: AdminServer

    /// Reads the settings; prints the role's help and ends when asked.
    init(_ role: Role, arguments: [String]) async throws {
        if arguments.contains(where: { ["--help", "-h"].contains($0) }) {
            print("USAGE: beckon \(role.rawValue) [--key value …]\n\n\(Settings.help(for: role))")
            throw ExitCode.success
        }
        self.role = role
        settings = try await Settings(role: role, arguments: arguments)
        logger = Self.logger(role.rawValue, level: try settings(Settings.logLevel))
        let isProxySet = role == .dispatcher && (try settings.optional(Settings.providersProxy)) != nil
        if let notice = ProxyVariables.notice(
            role: role, isProxySet: isProxySet, environment: ProcessInfo.processInfo.environment)
        {
            logger.warning("\(notice)")
        }
        metrics = PrometheusRegistry()
        readiness = Readiness()
        admin = AdminServer(
            host: try settings(Settings.adminHost), port: try settings(Settings.adminPort), readiness: readiness,
            metrics: metrics, logger: logger,
            token: role == .ackTracker ? try settings.optional(Settings.adminToken) : nil)
    }

    static func logger(_ label: String, level: Logger.Level) -> Logger {
        var logger = Logger(label: label) { EscapingLogHandler(StreamLogHandler.standardError(label: $0)) }
        logger.logLevel = level
        return logger
    }

    /// Runs the role until SIGTERM, with the admin port first (so that it is the last to go) and the ready file last.
    /// - Parameters:
    ///   - kafka: what the role's clients are made of; nil: it has none.
    ///   - addresses: what the ready file says beside `admin`; asked once the role is ready.
    func run(
        _ services: [any Service], kafka: KafkaConfiguration? = nil,
        addresses: @escaping @Sendable () async -> [String: String] = { [:] }
    ) async throws {
        let path = try settings.optional(Settings.readyFile)
        let started = StartedService {
            let port = await admin.boundPort()
            var content = await addresses()
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
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                try RoleProcess.writeReadyFile(path, try encoder.encode(content))
            }
        }
        try await RoleProcess.run(
            [admin] + (kafka.map { [KafkaReadiness($0.diagnosis, readiness: readiness)] } ?? []) + services + [started],
            shutdownTimeout: try settings(Settings.shutdownTimeout), logger: logger)
        logger.info("stopped")
    }
}
