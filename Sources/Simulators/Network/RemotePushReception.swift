public import AsyncHTTPClient
import DeviceKit
import Foundation
import NIOCore
import NIOHTTP1
import Wire

/// Receives pushes from a simulator in another process, over its control port.
public struct RemotePushReception: PushReception {
    /// `http://127.0.0.1:PORT`.
    public let controlURL: String
    private let client: HTTPClient

    /// - Parameter client: owned and shut down by who made it; must not have a read timeout below 10 s, the interval of
    ///   the heartbeat is 2 s.
    public init(controlURL: String, client: HTTPClient) {
        self.controlURL = controlURL.hasSuffix("/") ? String(controlURL.dropLast()) : controlURL
        self.client = client
    }

    private func url(_ provider: SimulatedProvider, _ token: String) -> String {
        "\(controlURL)/devices/\(provider.rawValue)/\(Percent.encode(token))"
    }

    public func register(_ provider: SimulatedProvider, token: String, appID: String) async throws {
        try await call(.PUT, url(provider, token) + "?app=\(Percent.encode(appID))")
    }

    public func unregister(_ provider: SimulatedProvider, token: String) async throws {
        try await call(.DELETE, url(provider, token))
    }

    public func report(_ provider: SimulatedProvider, token: String, messageID: String, result: Int) async throws {
        guard provider == .hms else { return }
        try await call(
            .POST, url(provider, token) + "/reports?message=\(Percent.encode(messageID))&result=\(result)")
    }

    private func call(_ method: HTTPMethod, _ url: String) async throws {
        var request = HTTPClientRequest(url: url)
        request.method = method
        let outgoing = request
        let status = try await withDeadline(.seconds(60)) { [client] in
            let response = try await client.execute(outgoing, timeout: .seconds(60))
            _ = try await response.body.collect(upTo: 65_536)
            return response.status.code
        }
        guard status < 300 else { throw SimulatorError("the simulator answered \(status) to \(method) \(url)") }
    }

    /// Reads the simulator's stream, and opens it again (after 0.1 to 2 s) when it breaks, until the iteration is
    /// cancelled.
    public func receive(
        _ provider: SimulatedProvider, token: String, appID: String
    ) async throws -> AsyncStream<SimulatedPush> {
        try await register(provider, token: token, appID: appID)
        let (stream, continuation) = AsyncStream.makeStream(
            of: SimulatedPush.self, bufferingPolicy: .bufferingOldest(PushNetwork.streamBound))
        let request = HTTPClientRequest(url: url(provider, token) + "/pushes?app=\(Percent.encode(appID))")
        // Lives as long as the stream: its end is the stream's termination.
        let reader = Task { [client] in
            var backoff = Backoff(first: .milliseconds(200), most: .seconds(2))
            repeat {
                do {
                    let response = try await client.execute(request, timeout: .seconds(10))
                    if response.status == .gone { break }
                    guard response.status == .ok else { throw SimulatorError("\(response.status.code)") }
                    backoff.succeeded()
                    var lines = LineSplitter()
                    for try await buffer in response.body {
                        for line in try lines.add(buffer.readableBytesView) {
                            continuation.yield(try JSONDecoder().decode(SimulatedPush.self, from: Data(line)))
                        }
                    }
                } catch is CancellationError {
                    break
                } catch {
                    // The stream broke, or could not be opened: it is opened again after the wait.
                }
            } while await backoff.wait()
            continuation.finish()
        }
        continuation.onTermination = { _ in reader.cancel() }
        return stream
    }
}

/// Cuts a byte stream into lines; empty lines (heartbeats) are passed over.
struct LineSplitter {
    /// Longest line, in bytes.
    static let longest = 65_536
    private var rest: [UInt8] = []

    mutating func add(_ bytes: some Sequence<UInt8>) throws -> [[UInt8]] {
        var lines: [[UInt8]] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                if !rest.isEmpty { lines.append(rest) }
                rest = []
            } else {
                guard rest.count < Self.longest else { throw SimulatorError("a line is longer than 64 KiB") }
                rest.append(byte)
            }
        }
        return lines
    }
}
