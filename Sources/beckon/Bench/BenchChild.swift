import Foundation
import Synchronization

struct BenchError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// A role of this executable as a process of its own.
final class BenchChild: Sendable {
    let name: String
    private let process: Mutex<Process>
    private let identifier: Int32
    private let readyFile: URL

    init(_ name: String, _ arguments: [String], _ environment: [String: String], _ folder: URL, log: String?) throws {
        self.name = name
        readyFile = folder.appending(path: "\(name).json")
        let process = Process()
        process.executableURL = URL(
            filePath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.arguments = arguments + ["--ready-file", readyFile.path]
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        if let log {
            _ = FileManager.default.createFile(atPath: log, contents: nil)
            guard let handle = FileHandle(forWritingAtPath: log) else { throw BenchError("\(log) cannot be written") }
            process.standardError = handle
        }
        try process.run()
        identifier = process.processIdentifier
        self.process = Mutex(process)
    }

    var isRunning: Bool { process.withLock { $0.isRunning } }

    /// What its ready file says.
    func ready() async throws -> [String: String] {
        let end = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < end {
            if let data = try? Data(contentsOf: readyFile) {
                return try JSONDecoder().decode([String: String].self, from: data)
            }
            guard isRunning else {
                throw BenchError("\(name) ended before it was ready; use --log FILE to keep its log")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw BenchError("\(name) was not ready within 30 s; use --log FILE to keep its log")
    }

    /// SIGTERM, and after 10 s SIGKILL.
    func stop() async {
        kill(identifier, SIGTERM)
        let end = ContinuousClock.now + .seconds(10)
        while isRunning, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(20)) }
        if isRunning { kill(identifier, SIGKILL) }
    }

    /// User and system time so far: proc(5), fields 14 and 15 of `stat`.
    var cpuSeconds: Double {
        guard let text = try? String(contentsOfFile: "/proc/\(identifier)/stat", encoding: .utf8),
            let name = text.lastIndex(of: ")")
        else { return 0 }
        let fields = text[name...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Resident set, in megabytes of 10^6 bytes.
    var residentMB: Double {
        guard let text = try? String(contentsOfFile: "/proc/\(identifier)/status", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
            let kilobytes = Double(line.split(whereSeparator: \.isWhitespace).dropFirst().first ?? "")
        else { return 0 }
        return kilobytes * 1024 / 1e6
    }
}

/// Looks at a child's memory ten times a second.
final class MemoryWatch: Sendable {
    private let child: BenchChild
    private let seen = Mutex((highest: 0.0, last: 0.0))

    init(_ child: BenchChild) { self.child = child }

    /// The highest seen and the last, in megabytes.
    var megabytes: (Double, Double) { seen.withLock { ($0.highest, $0.last) } }

    func run() async {
        repeat {
            let now = child.residentMB
            if now > 0 { seen.withLock { $0 = (max($0.highest, now), now) } }
        } while (try? await Task.sleep(for: .milliseconds(100))) != nil
    }
}
