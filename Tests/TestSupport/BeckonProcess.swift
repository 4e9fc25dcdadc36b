public import Foundation
import Synchronization

/// A role as its own process, as in production: the built executable, real signals.
public final class BeckonProcess: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
        public init(description: String) { self.description = description }
    }

    /// A process that nobody stopped is not there any more: what needs it is not worth another try.
    public struct Ended: Error, CustomStringConvertible {
        public let description: String
    }

    public let name: String
    private let process: Mutex<Process>
    private let log: URL
    private let readyFile: URL

    /// The environment without what the tests are told themselves (`BECKON_TEST_KAFKA`, …), which is no setting of a
    /// role.
    private static let inherited = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("BECKON_") }

    /// The executable that the tests were built with.
    public static var executable: URL {
        if let path = ProcessInfo.processInfo.environment["BECKON_BINARY"] { return URL(filePath: path) }
        return URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../.build/debug/beckon")
            .standardized
    }

    /// Starts it, with its log and ready file in `folder`.
    /// - Parameters:
    ///   - arguments: the subcommand and its settings, without `--ready-file`.
    ///   - openFiles: how many it may open at most; nil: as this process.
    ///   - isRole: false: a command, which is never ready and ends by itself.
    ///   - executable: of another version; nil: ``executable``.
    public init(
        _ name: String, _ arguments: [String], environment: [String: String] = [:], openFiles: Int? = nil,
        isRole: Bool = true, executable: URL? = nil, folder: URL
    ) throws {
        self.name = name
        log = folder.appending(path: "\(name).log")
        readyFile = folder.appending(path: "\(name)-\(UUID().uuidString).json")
        let executable = executable ?? Self.executable
        guard FileManager.default.isExecutableFile(atPath: executable.path) else {
            throw Failure(description: "\(executable.path) is missing: run `swift build` first, or set BECKON_BINARY")
        }
        let process = Process()
        let arguments = arguments + (isRole ? ["--ready-file", readyFile.path] : [])
        if let openFiles {
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments =
                ["-c", "ulimit -n \(openFiles); exec \"$0\" \"$@\"", executable.path] + arguments
        } else {
            process.executableURL = executable
            process.arguments = arguments
        }
        process.environment = Self.inherited.merging(environment) { $1 }
        if !FileManager.default.fileExists(atPath: log.path) {
            _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        }
        let handle = try FileHandle(forWritingTo: log)
        try handle.seekToEnd()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        self.process = Mutex(process)
    }

    /// What the ready file says.
    public func ready(within deadline: Duration = .seconds(120)) async throws -> [String: String] {
        let end = ContinuousClock.now + deadline
        while ContinuousClock.now < end {
            if let data = try? Data(contentsOf: readyFile) {
                return try JSONDecoder().decode([String: String].self, from: data)
            }
            guard isRunning else { throw Failure(description: "\(name) ended before it was ready:\n\(tail)") }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw Failure(description: "\(name) was not ready within \(deadline):\n\(tail)")
    }

    public var isRunning: Bool { process.withLock { $0.isRunning } }
    public var identifier: Int32 { process.withLock { $0.processIdentifier } }

    /// - Throws: ``Ended``, with its exit status or signal and what its log says about it.
    public func hasNotEnded() throws {
        guard !isRunning else { return }
        let (status, isSignal) = process.withLock { ($0.terminationStatus, $0.terminationReason == .uncaughtSignal) }
        let lines = output.split(separator: "\n")
        let signs = ["Assertion", "Fatal error", "Program crashed", " critical ", " error "]
        let said = signs.lazy.compactMap { sign in lines.last { $0.contains(sign) } }.first ?? lines.last ?? "nothing"
        throw Ended(
            description: "\(name) has ended by itself with \(isSignal ? "signal" : "status") \(status): \(said)")
    }

    /// `kill -9`.
    public func kill() { Foundation.kill(identifier, SIGKILL) }

    /// SIGTERM, and waits for the end; `kill -9` at the deadline.
    /// - Returns: the exit status, nil when it had to be killed.
    @discardableResult
    public func stop(within deadline: Duration = .seconds(60)) async -> Int32? {
        Foundation.kill(identifier, SIGTERM)
        let end = ContinuousClock.now + deadline
        while isRunning, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(20)) }
        if isRunning {
            kill()
            return nil
        }
        return process.withLock { $0.terminationStatus }
    }

    /// Waits for the end of a command that ends by itself.
    /// - Returns: the exit status.
    /// - Throws: ``Failure`` at the deadline, when it was killed.
    public func end(within deadline: Duration) async throws -> Int32 {
        let end = ContinuousClock.now + deadline
        while isRunning, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
        guard !isRunning else {
            kill()
            throw Failure(description: "\(name) had not ended after \(deadline):\n\(tail)")
        }
        return process.withLock { $0.terminationStatus }
    }

    /// The whole log so far.
    public var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

    /// The end of the log, for a failure's message.
    public var tail: String { output.split(separator: "\n").suffix(25).joined(separator: "\n") }

    /// Runs a command to its end, off the cooperative threads.
    /// - Returns: what it printed on standard output.
    /// - Throws: ``Failure`` with that output when it does not exit with 0.
    public static func output(of arguments: [String], environment: [String: String] = [:]) async throws -> String {
        let result = try await result(of: arguments, environment: environment)
        guard result.status == 0 else {
            throw Failure(
                description: "beckon \(arguments.joined(separator: " ")) ended with \(result.status):\n"
                    + result.output + result.errors)
        }
        return result.output
    }

    /// Exit status, standard output and standard error of a command, whatever the status is.
    public static func result(
        of arguments: [String], environment: [String: String] = [:]
    ) async throws -> (status: Int32, output: String, errors: String) {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(with: Result { try run(arguments, environment: environment) })
            }
        }
    }

    /// Exit status and standard error of a command that writes to this file or pipe.
    public static func status(
        of arguments: [String], output: FileHandle
    ) async throws -> (status: Int32, errors: String) {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    with: Result {
                        try end(of: arguments, environment: [:], output: output) {}
                    })
            }
        }
    }

    private static func run(
        _ arguments: [String], environment: [String: String]
    ) throws -> (status: Int32, output: String, errors: String) {
        let pipe = Pipe()
        var text = ""
        let end = try end(of: arguments, environment: environment, output: pipe) {
            text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        }
        return (end.status, text, end.errors)
    }

    private static func end(
        of arguments: [String], environment: [String: String], output: Any, whileItRuns: () -> Void
    ) throws -> (status: Int32, errors: String) {
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = inherited.merging(environment) { $1 }
        // A file: nobody reads it while the process runs.
        let errors = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString).err")
        _ = FileManager.default.createFile(atPath: errors.path, contents: nil)
        defer { try? FileManager.default.removeItem(at: errors) }
        process.standardError = try FileHandle(forWritingTo: errors)
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        try process.run()
        whileItRuns()
        process.waitUntilExit()
        return (process.terminationStatus, (try? String(contentsOf: errors, encoding: .utf8)) ?? "")
    }
}
