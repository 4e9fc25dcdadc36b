import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import ServiceSupport

/// The health check of containers, whose image has no other HTTP client.
struct ReadyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ready", abstract: "Asks a role on this machine whether it is ready.",
        discussion: """
            Prints what /readyz answers. Exit status: 0 ready, 1 not ready, 3 no answer within the time limit.
            """)

    @Option(help: "Host of the role's admin port.") var host = "127.0.0.1"
    @Option(help: "The role's admin port.") var port = Settings.adminPort.standard
    @Option(help: "Time limit for the answer in milliseconds, 100 to 60000.") var timeout = 3000

    func validate() throws {
        guard (1...65_535).contains(port) else { throw ValidationError("--port: expected a port from 1 to 65535") }
        guard (100...60_000).contains(timeout) else {
            throw ValidationError("--timeout: expected milliseconds from 100 to 60000")
        }
    }

    func run() async throws {
        let authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        let request = HTTPClientRequest(url: "http://\(authority)/readyz")
        do {
            let response = try await HTTPClient.shared.execute(
                request, timeout: .milliseconds(Int64(timeout)))
            let body = try await response.body.collect(upTo: 64 << 10)
            print(String(buffer: body), terminator: "")
            guard response.status == .ok else { throw ExitCode(1) }
        } catch let code as ExitCode {
            throw code
        } catch {
            Terminal.error("no answer from http://\(authority)/readyz: \(error)\n")
            throw ExitCode(3)
        }
    }
}
