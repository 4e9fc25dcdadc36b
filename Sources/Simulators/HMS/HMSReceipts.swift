import AsyncHTTPClient
import Crypto
import DequeModule
import DeviceKit
import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
import Wire

/// Where an app's delivery receipts go, as AppGallery Connect is told: URL, user name and key of the callback.
public struct HMSCallback: Sendable, Codable, Hashable {
    public var url: String
    public var user: String
    /// As AppGallery Connect makes it: base64 of the key's bytes. Other text is taken as it stands, as in older
    /// configurations.
    public var key: String

    public init(url: String, user: String, key: String) {
        self.url = url
        self.user = user
        self.key = key
    }

    /// `X-HUAWEI-CALLBACK-ID`: it covers time, nonce and user, not the body. Source: Huawei, "Message Receipt", request
    /// header.
    func header(nowMs: Int64, nonce: String = UUID().uuidString.lowercased()) -> String {
        let key = SymmetricKey(data: Data(base64Encoded: key) ?? Data(key.utf8))
        let code = HMAC<SHA256>.authenticationCode(for: Data("\(nowMs)\(nonce)\(user)".utf8), using: key)
        return "timestamp=\(nowMs); nonce=\(nonce); value=\(Base64.encode(code))"
    }
}

/// Delivery receipts, from phones' reports to the apps' callbacks: up to 100 in a request, again up to three times when
/// the callback does not answer 200 with code 0.
final class HMSReceipts: Sendable {
    private struct Unit: Hashable {
        var requestID: String
        var token: String
    }

    private struct Status {
        var unit: Unit
        var tag: String
        var app: String
        var result: Int
        var atMs: Int64
    }

    private struct State {
        var callbacks: [String: HMSCallback] = [:]
        var sent: [Unit: (app: String, tag: String)] = [:]
        var order: Deque<Unit> = []
        var waiting: Deque<Status> = []
        var taken = 0
        var refused = 0

        func callback(_ app: String) -> HMSCallback? { callbacks[app] ?? callbacks[HMSReceipts.anyApp] }
    }

    /// Messages whose report is still known; older ones get no receipt.
    private static let mostSent = 100_000
    /// Receipts that wait for a callback; more are dropped.
    private static let mostWaiting = 20_000
    private static let perRequest = 100
    private static let tries = 3

    private let state = Mutex(State())
    private let signal: AsyncStream<Void>
    private let bell: AsyncStream<Void>.Continuation
    private let nowMs: @Sendable () -> Int64

    init(nowMs: @escaping @Sendable () -> Int64) {
        self.nowMs = nowMs
        (signal, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// Receipts that a callback took, and that none took in the end.
    var counts: (taken: Int, refused: Int) { state.withLock { ($0.taken, $0.refused) } }

    /// - Parameter app: `*`: for every app without a callback of its own. Nil for a callback: no receipts.
    func setCallback(_ callback: HMSCallback?, app: String) { state.withLock { $0.callbacks[app] = callback } }

    /// For apps without a callback of their own.
    static let anyApp = "*"

    func sent(requestID: String, token: String, app: String, tag: String) {
        state.withLock { state in
            guard state.callback(app) != nil else { return }
            let unit = Unit(requestID: requestID, token: token)
            state.sent[unit] = (app, tag)
            state.order.append(unit)
            if state.order.count > Self.mostSent, let oldest = state.order.popFirst() { state.sent[oldest] = nil }
        }
    }

    /// What a phone's system says became of a message; Huawei's receipt status.
    func report(requestID: String, token: String, result: Int) {
        let unit = Unit(requestID: requestID, token: token)
        let at = nowMs()
        let isWaiting = state.withLock { state in
            guard let (app, tag) = state.sent[unit], state.waiting.count < Self.mostWaiting else { return false }
            state.waiting.append(Status(unit: unit, tag: tag, app: app, result: result, atMs: at))
            return true
        }
        if isWaiting { bell.yield() }
    }

    /// Sends until cancelled.
    func run() async {
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        for await _ in signal {
            while let (callback, batch) = take() { await deliver(batch, to: callback, client) }
        }
        try? await client.shutdown()
    }

    /// The oldest receipts of one app.
    private func take() -> (HMSCallback, [Status])? {
        state.withLock { state in
            while let app = state.waiting.first?.app {
                guard let callback = state.callback(app) else {
                    state.waiting.removeAll { $0.app == app }
                    continue
                }
                let batch = Array(state.waiting.lazy.filter { $0.app == app }.prefix(Self.perRequest))
                var left = batch.count
                state.waiting.removeAll { status in
                    guard left > 0, status.app == app else { return false }
                    left -= 1
                    return true
                }
                return (callback, batch)
            }
            return nil
        }
    }

    private func deliver(_ batch: [Status], to callback: HMSCallback, _ client: HTTPClient) async {
        for attempt in 1...Self.tries {
            var request = HTTPClientRequest(url: callback.url)
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/json")
            request.headers.add(name: "x-huawei-callback-id", value: callback.header(nowMs: nowMs()))
            request.body = .bytes(ByteBuffer(bytes: Self.body(batch)))
            if let response = try? await client.execute(request, timeout: .seconds(10)),
                let body = try? await response.body.collect(upTo: 65_536), response.status == .ok,
                (try? JSONParser.parse(Array(body.readableBytesView), .reply))?["code"]?.stringValue == "0"
            {
                return state.withLock { $0.taken += batch.count }
            }
            if attempt < Self.tries { try? await Task.sleep(for: .milliseconds(200 * attempt)) }
            if Task.isCancelled { return }
        }
        state.withLock { $0.refused += batch.count }
    }

    private static func body(_ batch: [Status]) -> [UInt8] {
        let statuses = batch.map { status in
            JSONValue.object([
                ("biTag", .string(status.tag)), ("appid", .string(status.app)), ("token", .string(status.unit.token)),
                ("status", .integer(Int64(status.result))), ("timestamp", .integer(status.atMs)),
                ("requestId", .string(status.unit.requestID)),
            ])
        }
        return JSONValue.object([("statuses", .array(statuses))]).bytes
    }
}
