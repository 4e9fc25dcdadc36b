import AsyncHTTPClient
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Synchronization
import Wire

@testable import DeviceKit

/// What reached a ``TinyServer``.
struct SeenRequest: Sendable {
    var method: String
    /// With query.
    var target: String
    var authorization: String?
    var headers: HTTPFields
    var body: String

    var form: [(name: String, value: String)] {
        ((try? Form(body.utf8))?.pairs ?? []).map { ($0.name, $0.value) }
    }
    func field(_ name: String) -> String? { form.first { $0.name == name }?.value }

    /// Of Basic.
    var password: String? {
        guard let authorization, authorization.hasPrefix("Basic "),
            let bytes = DeviceJWTTests.base64(String(authorization.dropFirst(6)))
        else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.hasPrefix("token:") ? String(text.dropFirst(6)) : nil
    }
}

struct ServerReply: Sendable {
    var status = 200
    var headers: HTTPFields = [:]
    var body = ""
    var delay: Duration?
}

/// An HTTP server on loopback that answers by one closure and remembers what it was asked.
enum TinyServer {
    final class Requests: Sendable {
        private let seen = Mutex<[SeenRequest]>([])
        var all: [SeenRequest] { seen.withLock { $0 } }
        func add(_ request: SeenRequest) -> Int {
            seen.withLock {
                $0.append(request)
                return $0.count - 1
            }
        }
    }

    struct Handler: HTTPResponder {
        typealias Context = BasicRequestContext
        let requests: Requests
        let answer: @Sendable (Int, SeenRequest) -> ServerReply

        func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
            let body = try await request.body.collect(upTo: 1_000_000)
            let seen = SeenRequest(
                method: request.method.rawValue, target: request.head.path ?? "",
                authorization: request.headers[.authorization], headers: request.headers, body: String(buffer: body))
            let reply = answer(requests.add(seen), seen)
            if let delay = reply.delay { try await Task.sleep(for: delay) }
            return Response(
                status: .init(code: reply.status), headers: reply.headers,
                body: .init(byteBuffer: ByteBuffer(string: reply.body)))
        }
    }

    /// - Parameter answer: number of the request, from 0, and the request.
    static func run(
        answer: @escaping @Sendable (Int, SeenRequest) -> ServerReply,
        body: @escaping @Sendable (String, HTTPClientTransport, Requests) async throws -> Void
    ) async throws {
        let requests = Requests()
        let (ports, port) = AsyncStream.makeStream(of: Int.self, bufferingPolicy: .bufferingNewest(1))
        let application = Application(
            responder: Handler(requests: requests, answer: answer),
            configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { port.yield($0.localAddress?.port ?? 0) },
            logger: Logger(label: "tiny", factory: { _ in SwiftLogNoOpLogHandler() }))
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await application.run() }
                for await port in ports {
                    try await body("http://127.0.0.1:\(port)", HTTPClientTransport(client), requests)
                    break
                }
                group.cancelAll()
                while (try? await group.next()) != nil {}
            }
        } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }
}
