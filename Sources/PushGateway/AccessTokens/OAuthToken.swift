import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import PushProviders
import Synchronization

/// The OAuth access token of one service account or app, shared by all pushes. It is fetched when it is first needed.
/// One task on one event loop renews it before it expires.
final class OAuthToken: Sendable {
    enum Outcome: Sendable {
        case bearer(SharedBytes)
        case unavailable(retryAtMs: Int64, refused: String?)
    }

    /// Shortest deadline of a fetch, whatever `push.deadline` says: Huawei's endpoint sometimes takes 3 to 5 s, and a
    /// push never waits longer than its own deadline.
    static let shortestDeadline = TimeAmount.seconds(10)
    /// Interval of the check for waiters whose deadline has passed.
    private static let lookEvery = TimeAmount.milliseconds(100)

    private struct Waiter {
        let deadline: NIODeadline
        let body: @Sendable (Outcome) -> Void
    }

    private struct Shared {
        var state = AccessTokenState()
        /// Bounded by the outstanding pushes, which are counted before they reach this point.
        var waiters: [Waiter] = []
        var isLooking = false
        var renewal: Scheduled<Void>?
        var isClosed = false
    }

    private let account: any AccessTokenSource
    /// The only endpoint that gets an assertion. The URL in the key's file is ignored.
    private let url: String
    private let client: HTTPClient
    /// Reports faults of the endpoint's certificate.
    private let connector: Connector
    private let deadline: TimeAmount
    private let loop: any EventLoop
    private let clock: GatewayClock
    private let logger: Logger
    private let shared = Mutex(Shared())

    /// - Parameter deadline: deadline of a push. A fetch has the same deadline, but at least ``shortestDeadline``.
    init(
        account: any AccessTokenSource, url: String, client: HTTPClient, connector: Connector, deadline: TimeAmount,
        loop: any EventLoop, clock: GatewayClock, logger: Logger
    ) {
        self.account = account
        self.url = url
        self.client = client
        self.connector = connector
        self.deadline = max(deadline, Self.shortestDeadline)
        self.loop = loop
        self.clock = clock
        self.logger = logger
    }

    /// Calls `body` exactly once: at once when a token is available, when the current fetch has ended, or at the
    /// deadline.
    /// - Parameter deadline: the deadline of the push, which includes the remaining life of its challenge.
    func bearer(until deadline: NIODeadline, _ body: @escaping @Sendable (Outcome) -> Void) {
        let nowMs = clock.nowMs()
        let (outcome, mustFetch): (Outcome?, Bool) = shared.withLock { shared in
            if shared.isClosed { return (.unavailable(retryAtMs: nowMs + 1000, refused: nil), false) }
            let (demand, mustFetch) = shared.state.demand(nowMs: nowMs)
            switch demand {
            case .use(let bearer): return (.bearer(bearer), mustFetch)
            case .none(let retryAtMs, let refused):
                return (.unavailable(retryAtMs: retryAtMs, refused: refused), mustFetch)
            case .wait:
                shared.waiters.append(Waiter(deadline: deadline, body: body))
                return (nil, mustFetch)
            }
        }
        if outcome == nil { lookSoon() }
        if mustFetch { fetch() }
        if let outcome { body(outcome) }
    }

    /// Call it when the provider refused this token.
    func invalidate(_ bearer: SharedBytes) {
        let nowMs = clock.nowMs()
        shared.withLock { $0.state.invalidate(bearer, nowMs: nowMs) }
    }

    /// Ends all fetches, and calls all waiters.
    func close() {
        let (waiters, renewal) = shared.withLock { shared in
            shared.isClosed = true
            defer { shared.waiters = [] }
            return (shared.waiters, shared.renewal)
        }
        renewal?.cancel()
        let retryAtMs = clock.nowMs() + 1000
        for waiter in waiters { waiter.body(.unavailable(retryAtMs: retryAtMs, refused: nil)) }
    }

    /// Checks the deadlines of the waiters repeatedly while there are any. At most one check is scheduled.
    private func lookSoon() {
        let isFirst = shared.withLock { shared in
            defer { shared.isLooking = true }
            return !shared.isLooking
        }
        if isFirst { loop.scheduleTask(in: Self.lookEvery) { self.look() } }
    }

    private func look() {
        let now = NIODeadline.now()
        let (overdue, areLeft) = shared.withLock { shared in
            let overdue = shared.waiters.filter { $0.deadline <= now }
            if !overdue.isEmpty { shared.waiters.removeAll { $0.deadline <= now } }
            shared.isLooking = false
            return (overdue, !shared.waiters.isEmpty)
        }
        let retryAtMs = clock.nowMs() + 1000
        for waiter in overdue { waiter.body(.unavailable(retryAtMs: retryAtMs, refused: nil)) }
        if areLeft { lookSoon() }
    }

    private func fetch() {
        loop.execute {
            do {
                let body = try self.account.tokenRequest(audience: self.url, nowMs: self.clock.nowMs())
                let request = try HTTPClient.Request(
                    url: self.url, method: .POST, headers: ["content-type": "application/x-www-form-urlencoded"],
                    body: .string(body))
                self.client.execute(
                    request: request,
                    delegate: ResponseAccumulator(request: request, maxBodySize: AccessTokenAnswer.longestBody),
                    eventLoop: .delegate(on: self.loop), deadline: .now() + self.deadline
                ).futureResult.whenComplete { result in
                    switch result {
                    case .success(let response): self.received(response)
                    case .failure(let error): self.failed(error)
                    }
                }
            } catch {
                self.failed("the assertion could not be made: \(error)", refused: "invalid_key")
            }
        }
    }

    private func received(_ response: HTTPClient.Response) {
        let nowMs = clock.nowMs()
        let answer = AccessTokenAnswer(
            status: Int(response.status.code), body: response.body.map { Array($0.readableBytesView) } ?? [],
            retryAfter: Array((response.headers.first(name: "retry-after") ?? "").utf8), nowMs: nowMs)
        switch answer {
        case .refused(let word): failed("HTTP \(response.status.code)", refused: word)
        case .unavailable(let what, let retryAfterMs): failed(what, refused: nil, retryAfterMs: retryAfterMs ?? 0)
        case .granted(let token, let lifeMs):
            let bearer = SharedBytes("Bearer " + token)
            let waiters = shared.withLock { shared in
                shared.state.fetched(bearer, lifeMs: lifeMs, nowMs: nowMs)
                defer { shared.waiters = [] }
                return shared.waiters
            }
            logger.debug("access token fetched", metadata: ["life-ms": "\(lifeMs)"])
            for waiter in waiters { waiter.body(.bearer(bearer)) }
            let wait = max(lifeMs - AccessTokenState.renewBeforeMs, lifeMs / 2) + Int64.random(in: 0...1000)
            schedule(inMs: wait)
        }
    }

    /// No answer came.
    private func failed(_ error: any Error) {
        guard url.hasPrefix("https:"), let endpoint = try? Endpoint(tokenURL: url) else {
            return failed("\(error)", refused: nil)
        }
        connector.explained(error, endpoint: endpoint, on: loop).whenSuccess { self.failed("\($0)", refused: nil) }
    }

    private func failed(_ what: String, refused: String?, retryAfterMs: Int64 = 0) {
        let nowMs = clock.nowMs()
        let (waiters, retryAtMs) = shared.withLock { shared in
            shared.state.failed(
                refused: refused, nowMs: nowMs, random: .random(in: 0..<1), atLeastMs: retryAfterMs)
            defer { shared.waiters = [] }
            return (shared.waiters, shared.state.retryAtMs)
        }
        logger.warning(
            "no access token",
            metadata: [
                "endpoint": "\(url)", "error": "\(what)", "refused": "\(refused ?? "no")",
                "retry-in-ms": "\(retryAtMs - nowMs)",
            ])
        for waiter in waiters { waiter.body(.unavailable(retryAtMs: retryAtMs, refused: refused)) }
        schedule(inMs: retryAtMs - nowMs)
    }

    /// Schedules the renewal. At most one is scheduled.
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
}
