import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// Buys an access token: what a service account's assertion or an app's secret looks like in a token request.
protocol AccessTokenSource: Sendable {
    /// The form body.
    /// - Parameter audience: the endpoint's URL.
    func tokenRequest(audience: String, nowMs: Int64) throws -> String
}

/// The OAuth access token of one service account or app, shared by all pushes: fetched when first needed, renewed before it ends by one
/// task on one event loop.
final class OAuthToken: Sendable {
    enum Outcome: Sendable {
        case bearer(SharedBytes)
        case unavailable(retryAtMs: Int64, refused: String?)
    }

    /// How long one fetch may take; pushes wait for it no longer. Huawei's endpoint takes 3 to 5 s at times.
    static let fetchTimeout = TimeAmount.seconds(8)

    private struct Shared {
        var state = AccessTokenState()
        /// Bounded by the pushes in flight, which are counted before they come here.
        var waiters: [@Sendable (Outcome) -> Void] = []
        var renewal: Scheduled<Void>?
        var isClosed = false
    }

    private let account: any AccessTokenSource
    /// The one endpoint that an assertion is sent to; what the key's file says is not asked.
    private let url: String
    private let client: HTTPClient
    private let loop: any EventLoop
    private let clock: GatewayClock
    private let logger: Logger
    private let shared = Mutex(Shared())

    init(
        account: any AccessTokenSource, url: String, client: HTTPClient, loop: any EventLoop, clock: GatewayClock,
        logger: Logger
    ) {
        self.account = account
        self.url = url
        self.client = client
        self.loop = loop
        self.clock = clock
        self.logger = logger
    }

    /// Calls `body` exactly once: at once with a token that is there, or when the fetch under way has ended.
    func bearer(_ body: @escaping @Sendable (Outcome) -> Void) {
        let nowMs = clock.nowMs()
        let (outcome, mustFetch): (Outcome?, Bool) = shared.withLock { shared in
            if shared.isClosed { return (.unavailable(retryAtMs: nowMs + 1000, refused: nil), false) }
            let (demand, mustFetch) = shared.state.demand(nowMs: nowMs)
            switch demand {
            case .use(let bearer): return (.bearer(bearer), mustFetch)
            case .none(let retryAtMs, let refused):
                return (.unavailable(retryAtMs: retryAtMs, refused: refused), mustFetch)
            case .wait:
                shared.waiters.append(body)
                return (nil, mustFetch)
            }
        }
        if mustFetch { fetch() }
        if let outcome { body(outcome) }
    }

    /// The provider answered that this token is not taken.
    func invalidate(_ bearer: SharedBytes) {
        let nowMs = clock.nowMs()
        shared.withLock { $0.state.invalidate(bearer, nowMs: nowMs) }
    }

    /// No more fetches; whoever waits is told.
    func close() {
        let (waiters, renewal) = shared.withLock { shared in
            shared.isClosed = true
            defer { shared.waiters = [] }
            return (shared.waiters, shared.renewal)
        }
        renewal?.cancel()
        let retryAtMs = clock.nowMs() + 1000
        for waiter in waiters { waiter(.unavailable(retryAtMs: retryAtMs, refused: nil)) }
    }

    private func fetch() {
        loop.execute {
            do {
                let body = try self.account.tokenRequest(audience: self.url, nowMs: self.clock.nowMs())
                let request = try HTTPClient.Request(
                    url: self.url, method: .POST, headers: ["content-type": "application/x-www-form-urlencoded"],
                    body: .string(body))
                self.client.execute(
                    request: request, delegate: ResponseAccumulator(request: request, maxBodySize: 65_536),
                    eventLoop: .delegate(on: self.loop), deadline: .now() + Self.fetchTimeout
                ).futureResult.whenComplete { result in
                    switch result {
                    case .success(let response): self.received(response)
                    case .failure(let error): self.failed("\(error)", refused: nil)
                    }
                }
            } catch {
                self.failed("the assertion could not be made: \(error)", refused: "invalid_key")
            }
        }
    }

    private func received(_ response: HTTPClient.Response) {
        let bytes = response.body.map { Data($0.readableBytesView) } ?? Data()
        let object = (try? JSONSerialization.jsonObject(with: bytes)) as? [String: Any] ?? [:]
        let status = Int(response.status.code)
        guard status == 200, let token = object["access_token"] as? String, Self.isSound(token) else {
            // 400 invalid_grant, 401 invalid_client: the key or the account. 5xx and 429: the endpoint.
            let word = object["error"] as? String ?? (object["error"] as? NSNumber)?.stringValue
            let isRefusal = (400..<500).contains(status) && status != 429 && status != 408
            return failed(
                "HTTP \(status)", refused: isRefusal ? word.map { String($0.prefix(64)) } ?? "HTTP \(status)" : nil)
        }
        let lifeMs = min(max((object["expires_in"] as? NSNumber)?.int64Value ?? 3600, 1), 86_400) * 1000
        let bearer = SharedBytes("Bearer " + token)
        let nowMs = clock.nowMs()
        let waiters = shared.withLock { shared in
            shared.state.fetched(bearer, lifeMs: lifeMs, nowMs: nowMs)
            defer { shared.waiters = [] }
            return shared.waiters
        }
        logger.debug("access token fetched", metadata: ["life-ms": "\(lifeMs)"])
        for waiter in waiters { waiter(.bearer(bearer)) }
        let wait = max(lifeMs - AccessTokenState.renewBeforeMs, lifeMs / 2) + Int64.random(in: 0...1000)
        schedule(inMs: wait)
    }

    private func failed(_ what: String, refused: String?) {
        let nowMs = clock.nowMs()
        let (waiters, retryAtMs) = shared.withLock { shared in
            shared.state.failed(refused: refused, nowMs: nowMs, random: .random(in: 0..<1))
            defer { shared.waiters = [] }
            return (shared.waiters, shared.state.retryAtMs)
        }
        logger.warning(
            "no access token",
            metadata: [
                "endpoint": "\(url)", "error": "\(what)", "refused": "\(refused ?? "no")",
                "retry-in-ms": "\(retryAtMs - nowMs)",
            ])
        for waiter in waiters { waiter(.unavailable(retryAtMs: retryAtMs, refused: refused)) }
        schedule(inMs: retryAtMs - nowMs)
    }

    /// The one renewing task: at most one is scheduled.
    private func schedule(inMs: Int64) {
        let task = loop.scheduleTask(in: .milliseconds(max(inMs, 10))) {
            let nowMs = self.clock.nowMs()
            let mustFetch = self.shared.withLock { !$0.isClosed && $0.state.demand(nowMs: nowMs).mustFetch }
            if mustFetch { self.fetch() }
        }
        let (before, isClosed) = shared.withLock { shared in
            defer { shared.renewal = task }
            return (shared.renewal, shared.isClosed)
        }
        before?.cancel()
        if isClosed { task.cancel() }
    }

    /// It goes into a header.
    private static func isSound(_ token: String) -> Bool {
        !token.isEmpty && token.utf8.count <= 4096 && token.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }
}
