import Foundation
import NIOCore
import NIOPosix
import Simulators
import Synchronization
import Testing

@testable import GuardedHTTP

/// What an endpoint answers, and when it does not.
extension ConnectorTests {
    @Test("row 70: of a body the first kilobyte is kept, and a long one ends the connection")
    func longBody() async throws {
        try await Self.scene(script: { _ in .status(200, body: String(repeating: "x", count: 300_000)) }) {
            client, port, receiver in
            let answer2 = try await Self.post(client, "https://127.0.0.1:\(port)/")
            #expect(answer2.body.count == HTTPAnswer.keptBytes)
            _ = try await Self.post(client, "https://127.0.0.1:\(port)/")
            #expect(receiver.connectionCount == 2)
        }
    }

    @Test("an answer that does not come, a connection that closes, and bytes that are no HTTP are told apart")
    func faults() async throws {
        try await Self.scene(script: { request in
            switch request.target {
            case "/hang": .hang
            case "/close": .close
            default: .raw("SSH-2.0-OpenSSH_9.2\r\n\r\n")
            }
        }) { client, port, _ in
            await #expect(throws: GuardedHTTPError.readTimeout) {
                try await Self.post(client, "https://127.0.0.1:\(port)/hang", readTimeout: .milliseconds(200))
            }
            await #expect(throws: GuardedHTTPError.closed) {
                try await Self.post(client, "https://127.0.0.1:\(port)/close")
            }
            do {
                _ = try await Self.post(client, "https://127.0.0.1:\(port)/ssh")
                Issue.record("a banner is taken for an answer")
            } catch GuardedHTTPError.notHTTP {}
        }
    }

    @Test("an answer that trickles for ever ends at the deadline of the request")
    func trickle() async throws {
        try await Self.scene(script: { _ in .trickle(every: .milliseconds(20)) }) { client, port, receiver in
            await #expect(throws: GuardedHTTPError.readTimeout) {
                try await Self.post(client, "https://127.0.0.1:\(port)/", within: .milliseconds(500))
            }
            #expect(receiver.connectionCount == 1)
        }
    }

    @Test("Retry-After and webhook-delivery are read")
    func headers() async throws {
        try await Self.scene(script: { request in
            .status(
                429,
                headers: [
                    ("Retry-After", request.target == "/date" ? "Fri, 31 Dec 1999 23:59:59 GMT" : "120"),
                    ("Webhook-Delivery", "Disable"),
                ])
        }) { client, port, _ in
            let answer = try await Self.post(client, "https://127.0.0.1:\(port)/")
            #expect(answer.retryAfter == .seconds(120))
            #expect(answer.delivery == "disable")
            let answer3 = try await Self.post(client, "https://127.0.0.1:\(port)/date")
            #expect(answer3.retryAfter == .zero)
        }
    }

    @Test("a connection that the peer closed while it was idle is replaced")
    func staleConnection() async throws {
        try await Self.scene(script: { $0.target == "/last" ? .status(204) : .status(204) }) { client, port, receiver in
            _ = try await Self.post(client, "https://127.0.0.1:\(port)/")
            await receiver.goDown()
            try await receiver.start(port: port)
            let answer4 = try await Self.post(client, "https://127.0.0.1:\(port)/")
            #expect(answer4.status == 204)
        }
    }
}
