import ChallengeModel
import Challenges
import Foundation
import NIOCore
import Storage
import Wire

/// The PostgreSQL server under a measurement: the way to it, its CPU, and `pgbench` as the neighbour that does nothing
/// but send the statements of a creation.
final class DatabaseBench: Sendable {
    struct Result: Sendable {
        var perSecond = 0.0
        var averageMs = 0.0
        var serverCPUSeconds = 0.0
        var transactions = 0.0
    }

    /// As producers reach it: through a proxy, when there is one.
    let url: String
    let script: PgbenchScript
    private let proxy: DelayProxy?

    /// - Parameters:
    ///   - url: `postgresql://user@host:port/database` of a database that `world` has filled.
    ///   - roundTripMs: added to every round trip; 0: nothing.
    init(_ url: String, world: BenchWorld, roundTripMs: Double, nowMs: Int64) async throws {
        script = try await world.recordCreation(nowMs: nowMs)
        guard roundTripMs > 0 else {
            (self.url, self.proxy) = (url, nil)
            return
        }
        guard var parts = URLComponents(string: url), let host = parts.host, !host.isEmpty else {
            throw BenchError("--round-trip-ms: expected --database postgresql://user@host:port/database, with a host")
        }
        let network = try await DelayProxy(
            host: host, port: parts.port ?? 5432, delay: .nanoseconds(Int64(roundTripMs * 1e6 / 2)))
        (parts.host, parts.port) = ("127.0.0.1", network.port)
        guard let through = parts.string else { throw BenchError("--database: not a URL") }
        (self.url, self.proxy) = (through, network)
    }

    func close() async throws { try await proxy?.close() }

    /// Of all processes of the server since its start, user and system; nil: it is on another machine.
    var serverCPUSeconds: Double? {
        guard let postmaster = script.postmaster else { return nil }
        var ticks = 0.0
        for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
            guard let pid = Int32(name), let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let end = stat.lastIndex(of: ")")
            else { continue }
            // proc(5): 4 is the parent; 14 and 15 are its own times, 16 and 17 those of children that have ended.
            let fields = stat[end...].split(separator: " ")
            guard fields.count > 15, pid == postmaster || Int32(fields[2]) == postmaster else { continue }
            let wanted = pid == postmaster ? fields[12...15] : fields[12...13]
            ticks += wanted.reduce(0) { $0 + (Double($1) ?? 0) }
        }
        return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// - Parameter clients: connections.
    func pgbench(_ path: String, clients: Int, seconds: Int, folder: URL) async throws -> Result {
        let file = folder.appending(path: "creation.pgbench")
        try script.text.write(to: file, atomically: true, encoding: .utf8)
        let arguments =
            ["-n", "-M", "prepared", "-f", file.path, "-c", "\(clients)", "-j", "2", "-T", "\(seconds)"]
            + script.variables.flatMap { ["-D", "\($0.name)=\($0.value)"] } + [url]
        let before = serverCPUSeconds
        let output = try await Self.run(path, arguments)
        var result = Result()
        result.serverCPUSeconds = (serverCPUSeconds ?? 0) - (before ?? 0)
        func figure(_ words: Substring...) -> Double? {
            for line in output.split(separator: "\n") {
                guard let word = words.first(where: { line.hasPrefix($0) }) else { continue }
                return line.dropFirst(word.count).split(whereSeparator: { " =:ms/".contains($0) }).first.flatMap {
                    Double($0)
                }
            }
            return nil
        }
        guard let rate = figure("tps"), let count = figure("number of transactions actually processed") else {
            throw BenchError("pgbench: \(output.suffix(500))")
        }
        (result.perSecond, result.transactions) = (rate, count)
        result.averageMs = figure("latency average") ?? 0
        return result
    }

    /// The newest of the machine; nil: there is none.
    static var pgbenchPath: String? {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        return versions.compactMap(Int.init).sorted(by: >).map { "\(root)/\($0)/bin/pgbench" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    private static func run(_ path: String, _ arguments: [String]) async throws -> String {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<String, any Error>) in
            Thread {
                // The cooperative threads take no signals, and neither would what they start: pgbench ends by one.
                var none = sigset_t()
                sigemptyset(&none)
                pthread_sigmask(SIG_SETMASK, &none, nil)
                continuation.resume(with: Swift.Result { try output(of: path, arguments) })
            }.start()
        }
    }

    /// Blocks its thread.
    private static func output(of path: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        (process.standardOutput, process.standardError) = (pipe, pipe)
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw BenchError("pgbench: \(text.suffix(1000))") }
        return text
    }
}
