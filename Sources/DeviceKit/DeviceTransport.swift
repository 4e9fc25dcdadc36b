public import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// One request of a device.
public struct DeviceRequest: Sendable {
    /// `GET`, `POST` or `DELETE`.
    public var method: String
    /// Absolute.
    public var url: String
    /// Names and values, in the order in which they are sent.
    public var headers: [(name: String, value: String)]
    /// A form; nil for requests without a body.
    public var body: String?

    /// - Parameters:
    ///   - method: `GET`, `POST` or `DELETE`.
    ///   - url: absolute.
    ///   - headers: names and values.
    ///   - body: a form; nil for requests without a body.
    public init(method: String, url: String, headers: [(name: String, value: String)], body: String?) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
    }
}

/// The answer to a ``DeviceRequest``.
public struct DeviceResponse: Sendable {
    /// HTTP status.
    public var status: Int
    /// Names and values, in the order in which they arrived.
    public var headers: [(name: String, value: String)]
    /// The whole body; empty when the reply has none.
    public var body: [UInt8]

    /// - Parameters:
    ///   - status: HTTP status.
    ///   - headers: names and values.
    ///   - body: the whole body.
    public init(status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first header of that name, compared without regard to case.
    public func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// Sends a device's requests. Apps may have their own transport; ``HTTPClientTransport`` is part of DeviceKit.
public protocol DeviceTransport: Sendable {
    /// Sends one request and reads the whole reply.
    /// - Parameters:
    ///   - request: the request, to be sent unchanged.
    ///   - deadline: longest time from the call to the last byte of the reply.
    /// - Throws: ``DeviceError/unreachable(_:)``, ``DeviceError/deadlineExceeded``; `CancellationError` when cancelled.
    func send(_ request: DeviceRequest, deadline: Duration) async throws -> DeviceResponse
}

/// Sends requests over AsyncHTTPClient. It does not own the client: the creator of the client shuts it down.
public struct HTTPClientTransport: DeviceTransport {
    private let client: HTTPClient
    /// Maximum size of a reply. A larger reply fails. A page of 50 challenges of maximum size is smaller.
    private static let longestAnswer = 2 * 1024 * 1024

    /// - Parameter client: any client, for example `HTTPClient.shared`. It must stay open while devices use it.
    public init(_ client: HTTPClient) { self.client = client }

    public func send(_ request: DeviceRequest, deadline: Duration) async throws -> DeviceResponse {
        var outgoing = HTTPClientRequest(url: request.url)
        outgoing.method = HTTPMethod(rawValue: request.method)
        for header in request.headers { outgoing.headers.add(name: header.name, value: header.value) }
        if let body = request.body { outgoing.body = .bytes(ByteBuffer(string: body)) }
        do {
            // The client's own deadline covers only the head of the reply, so this deadline covers head and body.
            return try await withDeadline(deadline) { [client, outgoing] in
                let answer = try await client.execute(outgoing, timeout: .hours(1))
                let body = try await answer.body.collect(upTo: Self.longestAnswer)
                return DeviceResponse(
                    status: Int(answer.status.code), headers: answer.headers.map { ($0.name, $0.value) },
                    body: Array(body.readableBytesView))
            }
        } catch let error as DeviceError {
            throw error
        } catch let error as HTTPClientError {
            switch error {
            case .deadlineExceeded, .readTimeout, .connectTimeout, .getConnectionFromPoolTimeout:
                throw DeviceError.deadlineExceeded
            case .cancelled: throw CancellationError()
            default: throw DeviceError.unreachable(error.shortDescription)
            }
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw DeviceError.unreachable("\(type(of: error))")
        }
    }
}
