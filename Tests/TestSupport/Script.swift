import Foundation

/// A script that a test runs.
public enum Script {
    /// Off the cooperative threads.
    /// - Parameter environment: added to this process's own.
    /// - Returns: the exit status, and what it wrote on both outputs.
    public static func run(_ path: String, _ arguments: [String], environment: [String: String]) async throws -> (
        Int32, String
    ) {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    with: Result {
                        let process = Process()
                        process.executableURL = URL(filePath: path)
                        process.arguments = arguments
                        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
                        let pipe = Pipe()
                        process.standardInput = FileHandle.nullDevice
                        process.standardOutput = pipe
                        process.standardError = pipe
                        try process.run()
                        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                        process.waitUntilExit()
                        return (process.terminationStatus, text)
                    })
            }
        }
    }
}
