public import Foundation

/// A tool of the machine or of the repository, run to its end off the cooperative threads.
public struct ToolRun: Sendable {
    public let status: Int32
    /// Standard output and standard error together.
    public let output: String

    /// The root of the repository.
    public static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// - Parameters:
    ///   - program: a path; a relative one is below ``root``.
    ///   - environment: added to that of this process.
    ///   - input: a file for standard input.
    ///   - deadline: after it the tool is killed, and ``status`` is that of the signal.
    public static func of(
        _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: URL? = nil,
        deadline: Duration = .seconds(600)
    ) async throws -> ToolRun {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    with: Result {
                        try run(program, arguments, environment: environment, input: input, deadline: deadline)
                    })
            }
        }
    }

    private static func run(
        _ program: String, _ arguments: [String], environment: [String: String], input: URL?, deadline: Duration
    ) throws -> ToolRun {
        let process = Process()
        process.executableURL = program.hasPrefix("/") ? URL(filePath: program) : root.appending(path: program)
        process.arguments = arguments
        process.currentDirectoryURL = root
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = try input.map { try FileHandle(forReadingFrom: $0) } ?? FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let pid = process.processIdentifier
        let overdue = DispatchWorkItem { kill(pid, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + (deadline / .seconds(1)), execute: overdue)
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        overdue.cancel()
        return ToolRun(status: process.terminationStatus, output: output)
    }
}
