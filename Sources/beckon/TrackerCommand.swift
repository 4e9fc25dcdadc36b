import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import ServiceSupport

/// `beckon tracker`: queries the ack trackers.
struct TrackerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tracker", abstract: "Queries the ack trackers.", subcommands: [TrackerShowCommand.self])
}

struct TrackerShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Prints what a tracker knows about a challenge: its state, the next action and the reason.",
        discussion: """
            Queries one tracker after the other until it finds the owner of the challenge's partition. A tracker whose admin
            port is not on a loopback address requires its admin.token: set BECKON_ADMIN_TOKEN.
            """)

    @Argument(help: "The challenge's SID.") var challenge: String
    @Option(help: "Admin address of a tracker; repeat the option for several trackers.") var admin: [String] = [
        "http://127.0.0.1:9464"
    ]

    func run() async throws {
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        do {
            try await ask(client)
        } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    private func ask(_ client: HTTPClient) async throws {
        var answers: [String] = []
        for address in admin {
            var base = address
            while base.hasSuffix("/") { base.removeLast() }
            var request = HTTPClientRequest(url: "\(base)/tracker/challenges/\(challenge)")
            if let token = ProcessInfo.processInfo.environment["BECKON_ADMIN_TOKEN"] {
                request.headers.add(name: "authorization", value: "Bearer \(token)")
            }
            let status: UInt
            let body: String
            do {
                let response = try await client.execute(request, timeout: .seconds(5))
                status = response.status.code
                body = String(buffer: try await response.body.collect(upTo: 1 << 20))
            } catch {
                answers.append("\(base): no answer (\(error))")
                continue
            }
            if status == 200 {
                print(Self.indented(body))
                return
            }
            answers.append("\(base): \(status) \(body.trimmingCharacters(in: .whitespacesAndNewlines))")
            // Only the owner of the partition answers with these statuses.
            if status == 404 || status == 400 { break }
        }
        throw StartError(answers.joined(separator: "\n"))
    }

    private static func indented(_ json: String) -> String {
        guard let object = try? JSONSerialization.jsonObject(with: Data(json.utf8)),
            let data = try? JSONSerialization.data(
                withJSONObject: object, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
        else { return json }
        return String(decoding: data, as: UTF8.self)
    }
}
