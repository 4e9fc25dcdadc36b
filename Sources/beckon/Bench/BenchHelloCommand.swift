import ArgumentParser
import Foundation
import Hummingbird
import Logging
import ServiceLifecycle
import ServiceSupport
import Wire

/// `beckon bench hello`: what a Producer's HTTP server can do when it does nothing. For `bench api`.
struct BenchHelloCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hello", abstract: "Answers every POST with a few bytes, until SIGTERM.", shouldDisplay: false)

    @Option(help: "Where the address is written as JSON.") var readyFile: String

    func run() async throws {
        let router = Router()
        router.post("/**") { _, _ in "hello" }
        let path = readyFile
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? 0
                try? RoleProcess.writeReadyFile(path, JSONEncoder.line.encode(["api": "http://127.0.0.1:\(port)"]))
            },
            logger: Logger(label: "hello", factory: { _ in SwiftLogNoOpLogHandler() }))
        try await application.runService()
    }
}
