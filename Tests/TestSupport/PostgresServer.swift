public import Foundation
import Synchronization
public import Testing

/// A PostgreSQL server of a test's own, from the machine's binaries, on a socket in a temporary folder. It ends with
/// this process, also when that is killed.
public final class PostgresServer: Sendable {
    public enum Durability: Sendable {
        /// No fsync: for everything that does not kill the server.
        case none
        /// As in production.
        case full
    }

    /// How a server is ended.
    public enum End: Int32, Sendable {
        case fast = 2
        case immediate = 3
        case killed = 9
    }

    /// `BINDIR` of the newest version on this machine; nil: there is none.
    public static let binaries: URL? = {
        let root = URL(filePath: "/usr/lib/postgresql")
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
        let newest = versions.compactMap(Int.init).max().map { root.appending(path: "\($0)/bin") }
        return newest.flatMap {
            FileManager.default.isExecutableFile(atPath: $0.appending(path: "postgres").path) ? $0 : nil
        }
    }()

    /// Holds the socket and the data.
    public let folder: URL
    private let durability: Durability
    private let settings: [String]
    /// On loopback; nil: it listens on its socket only.
    public let port: Int?
    private let process = Mutex<Process?>(nil)
    private static let one = Shared()

    private actor Shared {
        /// A task, so that all who come while it starts get the same one.
        private var server: Task<PostgresServer, any Error>?

        func get() async throws -> PostgresServer {
            let server = server ?? Task { try await PostgresServer() }
            self.server = server
            return try await server.value
        }
    }

    /// The server that the tests of this process share, one database each. Without fsync; nobody ends it.
    public static func shared() async throws -> PostgresServer { try await one.get() }

    /// - Parameters:
    ///   - settings: `name=value` of `postgresql.conf`, set last.
    ///   - files: to be put in the data folder with mode 0600.
    ///   - port: to listen on, on loopback.
    public init(
        _ durability: Durability = .none, settings: [String] = [], files: [String: String] = [:], port: Int? = nil
    ) async throws {
        guard let binaries = Self.binaries else {
            throw BeckonProcess.Failure(description: "PostgreSQL is missing: scripts/install --tests")
        }
        self.durability = durability
        self.port = port
        self.settings = settings + (port.map { ["listen_addresses=127.0.0.1", "port=\($0)"] } ?? [])
        folder = try Self.temporaryFolder()
        let template = "/tmp/beckon-initdb-\(getuid())-\(binaries.pathComponents.dropLast().last ?? "")"
        // Once per machine; whoever is second finds it, or loses the race and throws its own away.
        try Self.shell(
            """
            test -d \(template) || { new=\(template).$$; mkdir $new; chown \(Self.user ?? "$(id -u)") $new
            \(Self.asUser) \(binaries.path)/initdb -A trust -U postgres -E UTF8 --locale=C --no-sync --no-instructions -D $new >/dev/null
            mv -T $new \(template) 2>/dev/null || rm -rf $new; }
            cp -a \(template) \(folder.path)/data
            """)
        for (name, content) in files {
            let path = data.appending(path: name).path
            try content.write(toFile: path, atomically: false, encoding: .utf8)
            try Self.shell("chown \(Self.user ?? "$(id -u)") \(path) && chmod 600 \(path)")
        }
        try await start()
    }

    /// A streaming standby of a server, on a socket of its own. Returns when it answers. The primary waits for it from
    /// ``awaitStandby()`` on.
    public init(standbyOf primary: PostgresServer) async throws {
        guard let binaries = Self.binaries else {
            throw BeckonProcess.Failure(description: "PostgreSQL is missing: scripts/install --tests")
        }
        (durability, settings, port) = (primary.durability, primary.settings, nil)
        folder = URL(filePath: "/tmp/beckon-pg-\(UUID().uuidString.prefix(8).lowercased())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Self.shell("chown \(Self.user ?? "$(id -u)") \(folder.path) && chmod 755 \(folder.path)")
        let source = "host=\(primary.folder.path) port=\(primary.port ?? 5432) user=postgres application_name=standby"
        try await Self.unblocked {
            try Self.shell(
                """
                \(Self.asUser) \(binaries.path)/pg_basebackup -d '\(source)' -D \(self.folder.path)/data --checkpoint=fast \
                --wal-method=stream --write-recovery-conf
                """)
        }
        try await start()
    }

    /// From here on the server acknowledges nothing that its standby does not have. Returns when the standby follows.
    public func awaitStandby() async throws {
        try await sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby)'")
        try await sql("SELECT pg_reload_conf()")
        let end = ContinuousClock.now + .seconds(60)
        while try await sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'") != "1" {
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "the standby does not follow in 60 s:\n\(log.suffix(2000))")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Makes the primary of a standby. Returns when it takes writes.
    public func promote() async throws { try await sql("SELECT pg_promote(true, 60)") }

    deinit {
        process.withLock { process in
            if let process, process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
        try? FileManager.default.removeItem(at: folder)
    }

    public var data: URL { folder.appending(path: "data") }
    public var log: String { (try? String(contentsOf: folder.appending(path: "log"), encoding: .utf8)) ?? "" }
    /// For a proxy.
    public var socket: String { folder.appending(path: ".s.PGSQL.\(port ?? 5432)").path }

    /// How a store reaches a database, as the server's superuser unless said otherwise.
    public func url(_ database: String, user: String = "postgres") -> String {
        "postgresql://\(user)@/\(database)?host=\(folder.path)&port=\(port ?? 5432)"
    }

    /// How a store reaches a database through a proxy on loopback.
    public static func url(_ database: String, port: Int, user: String = "postgres") -> String {
        "postgresql://\(user)@127.0.0.1:\(port)/\(database)?sslmode=disable"
    }

    /// The same for several servers, one proxy each.
    public static func url(_ database: String, ports: [Int]) -> String {
        "postgresql://postgres@\(ports.map { "127.0.0.1:\($0)" }.joined(separator: ","))/\(database)?sslmode=disable"
    }

    /// The postmaster's.
    public var identifier: Int32 { process.withLock { $0?.processIdentifier ?? 0 } }

    /// Returns when it answers.
    public func start() async throws {
        let fast = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        let always = [
            "listen_addresses=", "unix_socket_directories=\(folder.path)", "shared_buffers=32MB", "max_connections=400",
            "autovacuum=off", "jit=off", "logging_collector=off",
        ]
        let options = (always + (durability == .none ? fast : []) + settings).map { "-c '\($0)'" }.joined(
            separator: " ")
        let command =
            "\(Self.asUser) \(Self.binaries?.path ?? "")/postgres -D \(data.path) \(options) >>\(folder.path)/log 2>&1"
        let end = ContinuousClock.now + .seconds(60)
        while true {
            let process = Process()
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments = ["-c", "exec \(command)"]
            process.standardInput = FileHandle.nullDevice
            let started = AsyncStream.makeStream(of: (any Error)?.self)
            // The signal at our death follows the thread that has forked: this one lives as long as the server.
            let thread = Thread {
                do {
                    try process.run()
                    started.continuation.yield(nil)
                    process.waitUntilExit()
                } catch {
                    started.continuation.yield(error)
                }
            }
            thread.start()
            for await error in started.stream {
                if let error { throw error }
                break
            }
            self.process.withLock { $0 = process }
            while process.isRunning, ContinuousClock.now < end {
                if (try? await sql("SELECT 1")) == "1" { return }
                try await Task.sleep(for: .milliseconds(20))
            }
            // Sessions of one that was killed are still there, or its lock file is.
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "PostgreSQL does not start:\n\(log.suffix(2000))")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Ends it. Returns when its process is gone, which is waited for at most two minutes.
    public func stop(_ end: End = .immediate) async throws {
        guard let process = process.withLock({ $0 }) else { return }
        kill(process.processIdentifier, end.rawValue)
        let deadline = ContinuousClock.now + .seconds(120)
        while process.isRunning {
            guard ContinuousClock.now < deadline else {
                throw BeckonProcess.Failure(
                    description: "PostgreSQL does not end by signal \(end.rawValue) in 120 s:\n\(log.suffix(2000))")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// The first of so many ports in a row that nobody listened on a moment ago, below those that the system gives to
    /// clients.
    public static func freePorts(_ count: Int) throws -> Int {
        for _ in 0..<100 {
            let first = Int.random(in: 20_000..<32_000 - count)
            if (first..<first + count).allSatisfy({ bound($0) != nil }) { return first }
        }
        throw BeckonProcess.Failure(description: "no free ports")
    }

    /// A port that nobody listened on a moment ago.
    public static func freePort() throws -> Int {
        guard let port = bound(0) else { throw BeckonProcess.Failure(description: "no free port") }
        return port
    }

    /// The port that a socket could be bound to for a moment.
    private static func bound(_ port: Int) -> Int? {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        address.sin_port = in_port_t(port).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        return isBound ? Int(UInt16(bigEndian: address.sin_port)) : nil
    }

    /// A certificate for `localhost`, signed by itself, and its key. PEM.
    public static func certificate() throws -> (certificate: String, key: String) {
        let folder = FileManager.default.temporaryDirectory.appending(path: "pg-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try shell(
            """
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost -keyout \(folder.path)/key -out \(folder.path)/crt 2>/dev/null
            """)
        return (
            try String(contentsOf: folder.appending(path: "crt"), encoding: .utf8),
            try String(contentsOf: folder.appending(path: "key"), encoding: .utf8)
        )
    }

    /// Runs statements by `psql` as the superuser, off the cooperative threads. - Returns: the rows, unaligned, without
    /// headers.
    @discardableResult
    public func sql(_ text: String, in database: String = "postgres") async throws -> String {
        try await Self.unblocked { try self.blockingSQL(text, in: database) }
    }

    /// Off the cooperative threads.
    private static func unblocked<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try body() }) }
        }
    }

    /// The same on the caller's thread, which must be one that may be blocked: a body's on its connection.
    @discardableResult
    public func blockingSQL(_ text: String, in database: String = "postgres") throws -> String {
        try Self.run(
            (Self.binaries?.path ?? "") + "/psql",
            [
                "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", folder.path, "-p", "\(port ?? 5432)", "-U", "postgres", "-d",
                database, "-c", text,
            ])
    }

    /// Starts `psql` as the superuser with statements from `input`, until that is closed.
    public func shell(in database: String, input: Pipe) throws -> Process {
        let process = Process()
        process.executableURL = Self.binaries?.appending(path: "psql")
        process.arguments = ["-Xq", "-h", folder.path, "-p", "\(port ?? 5432)", "-U", "postgres", "-d", database]
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        return process
    }

    /// Makes a database, as a copy of another when one is named. Nobody may be connected to that one.
    public func database(template: String? = nil) async throws -> String {
        let name = "t\(UUID().uuidString.replacing("-", with: "").prefix(12).lowercased())"
        try await sql("CREATE DATABASE \(name)" + (template.map { " TEMPLATE \($0)" + fileCopy } ?? ""))
        return name
    }

    // MARK: -

    /// Without fsync a copy of the files takes a fraction of the default, which writes every page to the log.
    /// Before version 15 it is the only way.
    private var fileCopy: String {
        let version = Self.binaries.flatMap { Int($0.deletingLastPathComponent().lastPathComponent) } ?? 0
        return durability == .none && version >= 15 ? " STRATEGY file_copy" : ""
    }

    /// Who owns the server: it refuses root. Nil: this user.
    private static let user: String? = {
        guard getuid() == 0 else { return nil }
        return getpwnam("postgres") == nil ? "nobody" : "postgres"
    }()

    private static let asUser: String = {
        let change = user.map { "--reuid=\($0) --regid=$(id -g \($0)) --clear-groups " } ?? ""
        return "setpriv \(change)--pdeathsig=QUIT"
    }()

    /// A folder that the server's user may write to. Its name is short: a socket's path has 107 bytes.
    public static func temporaryFolder() throws -> URL {
        let folder = URL(filePath: "/tmp/beckon-pg-\(UUID().uuidString.prefix(8).lowercased())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try shell("chown \(user ?? "$(id -u)") \(folder.path) && chmod 755 \(folder.path)")
        return folder
    }

    /// The process will run a command as the server's user.
    public static func prepare(_ process: Process, _ command: [String]) throws {
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments =
            ["-c", "exec \(user == nil ? "" : asUser.replacing("--pdeathsig=QUIT", with: "")) \"$@\"", "sh"] + command
    }

    private static func shell(_ script: String) throws { try run("/bin/sh", ["-euc", script]) }

    @discardableResult
    private static func run(_ path: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        let (output, errors) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw BeckonProcess.Failure(description: "\(arguments.last ?? path): \(complaint)")
        }
        return text.trimmingCharacters(in: .newlines)
    }
}

extension Trait where Self == ConditionTrait {
    /// A test that starts PostgreSQL: skipped, with the reason, where it is missing; in CI it fails there.
    public static var postgres: Self {
        .enabled(
            if: PostgresServer.binaries != nil || ProcessInfo.processInfo.environment["CI"] != nil,
            "needs PostgreSQL: scripts/install --tests")
    }
}
