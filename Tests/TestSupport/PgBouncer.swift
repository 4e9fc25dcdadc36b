public import Foundation

/// PgBouncer in front of a test's server, in transaction mode, on a socket in a temporary folder. It ends with this
/// object.
public final class PgBouncer: Sendable {
    public static let executable: URL? = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map { URL(filePath: $0) }
        .first { FileManager.default.isExecutableFile(atPath: $0.path) }

    private let folder: URL
    private let process: Process

    /// Returns when it takes connections.
    /// - Parameter poolSize: connections to the server for each database, shared by all clients.
    public init(_ server: PostgresServer, poolSize: Int) async throws {
        guard let executable = Self.executable else {
            throw BeckonProcess.Failure(description: "PgBouncer is missing: scripts/install --tests")
        }
        folder = try PostgresServer.temporaryFolder()
        process = Process()
        let (settings, users) = (folder.appending(path: "pgbouncer.ini"), folder.appending(path: "users"))
        try """
        [databases]
        * = host=\(server.folder.path) port=\(server.port ?? 5432)
        [pgbouncer]
        listen_port = 6432
        unix_socket_dir = \(folder.path)
        auth_type = trust
        auth_file = \(users.path)
        pool_mode = transaction
        default_pool_size = \(poolSize)
        max_client_conn = 500
        logfile = \(folder.path)/log
        """.write(to: settings, atomically: false, encoding: .utf8)
        try "\"postgres\" \"\"\n".write(to: users, atomically: false, encoding: .utf8)
        try PostgresServer.prepare(process, [executable.path, "-q", settings.path])
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        while !FileManager.default.fileExists(atPath: folder.appending(path: ".s.PGSQL.6432").path) {
            guard process.isRunning else {
                let log = try? String(contentsOf: folder.appending(path: "log"), encoding: .utf8)
                throw BeckonProcess.Failure(description: "PgBouncer does not start:\n\(log ?? "")")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: folder)
    }

    public func url(_ database: String) -> String { "postgresql://postgres@/\(database)?host=\(folder.path)&port=6432" }
}
