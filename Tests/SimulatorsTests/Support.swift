import AsyncHTTPClient
import Crypto
import CryptoExtras
import DeviceKit
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization
import Testing
import Wire

@testable import Simulators

/// A clock that stands until it is moved.
final class TestClock: Sendable {
    private let ms: Mutex<Int64>
    init(_ ms: Int64 = SimulatorClock.systemMs()) { self.ms = Mutex(ms) }
    var nowMs: Int64 { ms.withLock { $0 } }
    func advance(ms milliseconds: Int64) { ms.withLock { $0 += milliseconds } }
}

let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

/// Running simulators and a client that trusts them.
struct Lab: Sendable {
    var providers: SimulatedProviders
    var addresses: SimulatorAddresses
    var client: HTTPClient
    var apnsKey: TestAPNsKey
    var clock: TestClock
    /// Of the simulators' start; one for all pushes, as Apple wants it.
    var authorization: String

    static func run(
        _ change: (inout SimulatorConfiguration) -> Void = { _ in }, topics: [String]? = nil,
        clock: TestClock = TestClock(),
        body: @escaping @Sendable (Lab) async throws -> Void
    ) async throws {
        var configuration = SimulatorConfiguration()
        configuration.nowMs = { clock.nowMs }
        change(&configuration)
        let providers = try SimulatedProviders(configuration: configuration, logger: quiet)
        let made = try providers.makeAPNsKey(topics: topics)
        let key = TestAPNsKey(
            team: made.teamID, id: made.keyID, key: try P256.Signing.PrivateKey(pemRepresentation: made.privateKeyPEM))
        var http = HTTPClient.Configuration(tlsConfiguration: try providers.certificates.clientTLSConfiguration())
        http.timeout.connect = .seconds(5)
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: http)
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await providers.run() }
                let addresses = try await providers.addresses()
                try await body(
                    Lab(
                        providers: providers, addresses: addresses, client: client, apnsKey: key, clock: clock,
                        authorization: try key.authorization(nowSeconds: clock.nowMs / 1000)))
                group.cancelAll()
                while (try? await group.next()) != nil {}
            }
        } catch {
            try? await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    /// One push; `change` may spoil it.
    func push(_ change: (inout TestPush) -> Void = { _ in }) async throws -> TestAnswer {
        var push = TestPush(authorization: authorization)
        change(&push)
        return try await send(push.method, addresses.apnsURL + push.path, push.headers, push.body)
    }

    func send(
        _ method: String, _ url: String, _ headers: [(String, String)], _ body: [UInt8]?, seconds: Int64 = 10
    ) async throws -> TestAnswer {
        var request = HTTPClientRequest(url: url)
        request.method = HTTPMethod(rawValue: method)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await client.execute(request, timeout: .seconds(seconds))
        let bytes = try await response.body.collect(upTo: 1_000_000)
        return TestAnswer(
            status: Int(response.status.code), headers: response.headers, body: String(buffer: bytes),
            version: response.version)
    }
}

struct TestAnswer: Sendable {
    var status: Int
    var headers: HTTPHeaders
    var body: String
    var version: HTTPVersion

    var tree: JSONValue? { try? JSONParser.parse(body, .reply) }
    var reason: String { tree?["reason"]?.stringValue ?? "" }
    var fcmCode: String {
        guard case .array(let details)? = tree?["error"]?["details"] else { return "" }
        return details.first?["errorCode"]?.stringValue ?? ""
    }
}

struct TestAPNsKey: Sendable {
    var team: String
    var id: String
    var key: P256.Signing.PrivateKey

    func authorization(nowSeconds: Int64, alg: String = "ES256") throws -> String {
        let head = Base64URL.encode(Array(#"{"alg":"\#(alg)","kid":"\#(id)"}"#.utf8))
        let body = Base64URL.encode(Array(#"{"iss":"\#(team)","iat":\#(nowSeconds)}"#.utf8))
        let signature = try key.signature(for: Data("\(head).\(body)".utf8)).rawRepresentation
        return "bearer \(head).\(body).\(Base64URL.encode(Array(signature)))"
    }
}

/// A good alert push, to be spoilt.
struct TestPush {
    static let token = String(repeating: "ab", count: 32)
    var method = "POST"
    var path = "/3/device/" + token
    var headers: [(String, String)]
    var body: [UInt8] = Array(
        #"{"aps":{"alert":"Log in?"},"challenge_sid":"YC1","dispatch":"c","kind":"visible"}"#.utf8)

    init(authorization: String) {
        headers = [
            ("authorization", authorization), ("apns-topic", "dev.app"), ("apns-push-type", "alert"),
            ("apns-priority", "10"), ("apns-id", UUID().uuidString.lowercased()), ("apns-expiration", "0"),
        ]
    }

    mutating func set(_ name: String, _ value: String?) {
        headers.removeAll { $0.0 == name }
        if let value { headers.append((name, value)) }
    }
}

/// Polls until `condition` holds.
func eventually(
    _ what: String, within deadline: Duration = .seconds(60), _ condition: @Sendable () async throws -> Bool
) async throws {
    let end = ContinuousClock.now.advanced(by: deadline)
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("not within \(deadline): \(what)")
}
