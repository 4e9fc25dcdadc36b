public import Foundation
public import Logging
public import ServiceLifecycle
import UnixSignals

/// Runs the services of one process until SIGTERM or SIGINT, then ends them in reverse order. SIGHUP only reloads.
public enum RoleProcess {
    /// - Parameters:
    ///   - services: the services, those that others need first.
    ///   - shutdownTimeout: longest time for the shutdown. After it the process exits.
    ///   - reload: called at each SIGHUP.
    /// - Throws: the error of the first service that fails. Nothing is thrown after a signal to stop.
    public static func run(
        _ services: [any Service], shutdownTimeout: Duration, logger: Logger,
        reload: @escaping @Sendable () async -> Void = {}
    ) async throws {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .notice)
        var configuration = ServiceGroupConfiguration(
            services: ([HangUpService(reload: reload, logger: logger)] + services).map {
                ServiceGroupConfiguration.ServiceConfiguration(service: $0)
            },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
        configuration.maximumGracefulShutdownDuration = shutdownTimeout
        configuration.maximumCancellationDuration = .seconds(5)
        try await ServiceGroup(configuration: configuration).run()
    }

    /// Writes the ready file as JSON: first under a temporary name, so that a reader sees all of it or nothing.
    public static func writeReadyFile(_ path: String, _ content: Data) throws {
        let temporary = path + ".new"
        let manager = FileManager.default
        guard manager.createFile(atPath: temporary, contents: content, attributes: [.posixPermissions: 0o600]) else {
            throw StartError("ready file \(path) cannot be written: expected a folder that exists and is writable")
        }
        guard rename(temporary, path) == 0 else {
            throw StartError("ready file \(path) cannot be moved to its place: \(String(cString: strerror(errno)))")
        }
    }
}

/// Handles SIGHUP, which asks a daemon to read its files again. Without this service, SIGHUP would end the process
/// without a drain.
private struct HangUpService: Service {
    let reload: @Sendable () async -> Void
    let logger: Logger

    func run() async throws {
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
            logger.notice("SIGHUP: reading the TLS certificates and the log level again; other settings need a restart")
            await reload()
        }
    }
}

/// Runs a piece of work when the group has started, then waits for the end: for ready files and banners.
public struct StartedService: Service {
    private let body: @Sendable () async throws -> Void

    public init(_ body: @escaping @Sendable () async throws -> Void) { self.body = body }

    public func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                try await body()
                try await Task.sleep(for: .seconds(86_400 * 365))
            }
        } catch is CancellationError where Task.isShuttingDownGracefully {
            // The service was asked to stop, which is its normal end.
        }
    }
}
