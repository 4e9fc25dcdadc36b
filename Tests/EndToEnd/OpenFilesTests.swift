import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import TestSupport
import Testing

/// Roles with few file descriptors, as their own processes.
@Suite("File descriptors", .timeLimit(.minutes(5)))
struct OpenFilesTests {
    /// More than the process may open.
    private static let flood = 500
    private static let files = 350

    @Test(
        "connections that use up the file descriptors end no role: it answers meanwhile and afterwards",
        arguments: ["admin", "control"])
    func broker(address: String) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-files-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let broker = try BeckonProcess(
            "broker", ["broker", "--admin-port", "0"], openFiles: Self.files, folder: folder)
        defer { broker.kill() }
        let facts = try await broker.ready()
        let flooded = try #require(URL(string: facts[address] ?? "")?.port)
        let ready = (facts["admin"] ?? "") + "/livez"
        var connections: [any Channel] = []
        for _ in 0..<Self.flood {
            // Who is not accepted waits in the kernel's queue, or is refused by it.
            if let channel = try? await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connectTimeout(.seconds(1)).connect(host: "127.0.0.1", port: flooded).get()
            {
                connections.append(channel)
            }
        }
        if address == "admin" {
            let answer = try await HTTPClient.shared.execute(HTTPClientRequest(url: ready), timeout: .seconds(60))
            #expect(answer.status == .ok, "\(broker.tail)")
        }
        for channel in connections { try? await channel.close() }
        let answer = try await HTTPClient.shared.execute(HTTPClientRequest(url: ready), timeout: .seconds(30))
        #expect(answer.status == .ok, "\(broker.tail)")
        #expect(broker.isRunning)
        #expect(await broker.stop() == 0, "\(broker.tail)")
    }
}
