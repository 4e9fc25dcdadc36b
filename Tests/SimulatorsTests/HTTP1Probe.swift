import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOSSL

@testable import Simulators

/// Asks a token endpoint over HTTP/1.1.
enum HTTP1Probe {
    /// - Returns: nil when no answer came.
    static func status(port: Int, certificates: SimulatedCertificates) async throws -> Int? {
        var configuration = HTTPClient.Configuration(tlsConfiguration: try certificates.clientTLSConfiguration())
        configuration.httpVersion = .http1Only
        configuration.timeout.connect = .seconds(2)
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        var request = HTTPClientRequest(url: "https://127.0.0.1:\(port)/token")
        request.method = .POST
        request.body = .bytes(ByteBuffer(string: "grant_type=x"))
        let status: Int?
        do {
            let response = try await client.execute(request, timeout: .seconds(3))
            _ = try await response.body.collect(upTo: 10_000)
            status = response.version == .http1_1 ? Int(response.status.code) : -1
        } catch {
            status = nil
        }
        try await client.shutdown()
        return status
    }
}
