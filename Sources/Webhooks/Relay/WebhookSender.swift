import ChallengeModel
import Challenges
import GuardedHTTP
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Tracing
import Wire

/// Posts events to webhooks: within the bounds of the process, of accounts, hosts and endpoints, signed anew for each
/// request.
final class WebhookSender: Sendable {
    private struct State {
        var endpoints: [WebhookSID: Endpoint] = [:]
        var accounts: [AccountSID: Slots] = [:]
        var hosts: [String: Slots] = [:]
        /// Of an account at a host.
        var shares: [String: Slots] = [:]
    }

    /// What a delivery says, read.
    private enum Message {
        case event(CloudEvent)
        /// For the account's debugger webhook.
        case alert([(name: String, value: String)])

        init(_ delivery: WebhookDelivery) throws {
            self =
                delivery.eventType == DebuggerMessage.deliveryType
                ? .alert(try DebuggerMessage.fields(of: delivery.event)) : .event(try CloudEvent(json: delivery.event))
        }
    }

    /// Groups of bounds that are kept; beyond it those that nobody uses are forgotten.
    private static let mostKept = 20_000
    /// Longest wait for the places of account, host and process together. An event that gets none goes to the store, so
    /// that it holds no partition.
    private static let mostWait = Duration.seconds(1)

    private let configuration: WebhookConfiguration
    private let client: GuardedClient
    private let process: Slots
    private let attempts: AttemptLog
    private let metrics: WebhookMetrics
    private let log: LimitedLog
    private let consents = Consents()
    private let start = ContinuousClock.now
    private let state = Mutex(State())

    init(
        configuration: WebhookConfiguration, client: GuardedClient, attempts: AttemptLog, metrics: WebhookMetrics,
        logger: Logger
    ) {
        self.configuration = configuration
        self.client = client
        self.attempts = attempts
        self.metrics = metrics
        log = LimitedLog(logger)
        process = Slots(configuration.maxInFlight)
    }

    func endpoint(of webhook: WebhookSID) -> Endpoint {
        state.withLock { state in
            if let known = state.endpoints[webhook] { return known }
            if state.endpoints.count >= Self.mostKept { state.endpoints = state.endpoints.filter { !$0.value.isIdle } }
            let made = Endpoint { [start] in (ContinuousClock.now - start).wholeMilliseconds }
            state.endpoints[webhook] = made
            return made
        }
    }

    /// Tells endpoints the time, and the metrics what is under way. Call it ten times a second.
    func tick() {
        let endpoints = state.withLock { Array($0.endpoints.values) }
        for endpoint in endpoints { endpoint.tick() }
        metrics.set(.inFlight, Double(endpoints.reduce(0) { $0 + $1.inFlight }))
        metrics.set(.openBreakers, Double(endpoints.count { $0.isOpen }))
    }

    /// Posts an event: at first with the quick tries of the URL's fragment, or once. The caller holds a place of the
    /// endpoint, and gives it back with the result.
    func send(_ delivery: WebhookDelivery, to route: WebhookRoute, isQuickRepeated: Bool) async -> AttemptResult {
        let url: CustomerURL
        let message: Message
        do {
            url = try client.url(route.webhook.url)
            message = try Message(delivery)
        } catch let error as CustomerURLError {
            let result = AttemptResult(refused: error)
            note(result, delivery, took: .zero)
            return result
        } catch {
            // Checked when it was read.
            return AttemptResult(GuardedHTTPError.notHTTP("\(error)"))
        }
        let places = places(account: delivery.account, host: url.hostText)
        var taken: [Slots] = []
        defer { for slots in taken { slots.give() } }
        let patience = ContinuousClock.now + Self.mostWait
        for slots in places {
            guard await slots.take(atMost: max(.zero, patience - .now)) else {
                return AttemptResult(Task.isCancelled ? GuardedHTTPError.cancelled : .busy)
            }
            taken.append(slots)
        }
        let overrides = url.overrides
        let deadline = ContinuousClock.now + overrides.totalTimeout
        if needsConsent(route), let refusal = await refusal(of: url, delivery, until: deadline) { return refusal }
        var tries = 0
        while true {
            let result = await post(message, delivery, url, route, until: deadline)
            tries += 1
            guard isQuickRepeated, tries <= overrides.repeats, result.isRepeated(for: overrides.repeatsFor),
                ContinuousClock.now + .milliseconds(200) < deadline, !Task.isCancelled
            else { return result }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    private func post(
        _ message: Message, _ delivery: WebhookDelivery, _ url: CustomerURL, _ route: WebhookRoute,
        until deadline: ContinuousClock.Instant
    ) async -> AttemptResult {
        let span = configuration.tracer?.span("POST webhook", .client, after: delivery.traceparent)
        let request = request(
            message, delivery, url, route, timestamp: Timestamp.nowMs() / 1000,
            traceparent: span?.text ?? delivery.traceparent)
        let started = ContinuousClock.now
        let left = max(.milliseconds(1), deadline - started)
        let result: AttemptResult
        do throws(GuardedHTTPError) {
            var headers = request.headers
            if needsConsent(route) { headers.append((Consents.originHeader, configuration.origin)) }
            let answer = try await client.post(
                url, target: request.target, headers: headers, body: request.body,
                connectTimeout: min(url.overrides.connectTimeout, left),
                readTimeout: min(url.overrides.readTimeout, left), until: deadline)
            result = AttemptResult(answer)
        } catch {
            if case .refused(let detail) = error {
                log.warning(
                    "a webhook's address is refused",
                    metadata: ["webhook": "\(delivery.webhook)", "host": "\(url.hostText)", "reason": "\(detail)"])
            }
            result = AttemptResult(error)
        }
        span?.end(result, of: delivery)
        note(result, delivery, took: ContinuousClock.now - started)
        return result
    }

    private var monotonicMs: Int64 { (ContinuousClock.now - start).wholeMilliseconds }

    /// A form goes to receivers of the original API, which know no consent.
    private func needsConsent(_ route: WebhookRoute) -> Bool { route.needsConsent && route.format != .form }

    /// Why nothing may be sent to a receiver whose consent is needed; nil: it has consented.
    private func refusal(
        of url: CustomerURL, _ delivery: WebhookDelivery, until deadline: ContinuousClock.Instant
    ) async -> AttemptResult? {
        let webhook = delivery.webhook
        if let waitMs = consents.take(webhook, url: url.text, nowMs: monotonicMs) {
            return waitMs > 0 ? .overRate(waitMs: waitMs) : nil
        }
        let started = ContinuousClock.now
        let left = max(.milliseconds(1), deadline - started)
        let result: AttemptResult
        do throws(GuardedHTTPError) {
            let answer = try await client.options(
                url, headers: [("User-Agent", "Beckon-Webhooks/1"), (Consents.originHeader, configuration.origin)],
                connectTimeout: min(url.overrides.connectTimeout, left),
                readTimeout: min(url.overrides.readTimeout, left), until: deadline)
            switch Consents.answer(answer, origin: configuration.origin) {
            case .granted(let everyMs):
                consents.grant(webhook, url: url.text, everyMs: everyMs, nowMs: monotonicMs)
                let waitMs = consents.take(webhook, url: url.text, nowMs: monotonicMs) ?? 0
                return waitMs > 0 ? .overRate(waitMs: waitMs) : nil
            case .refused: result = .withoutConsent(answer)
            }
        } catch {
            result = AttemptResult(error)
        }
        note(result, delivery, took: ContinuousClock.now - started)
        return result
    }

    private func request(
        _ message: Message, _ delivery: WebhookDelivery, _ url: CustomerURL, _ route: WebhookRoute, timestamp: Int64,
        traceparent: String?
    ) -> WebhookRequest {
        let credentials = WebhookCredentials(
            authToken: route.authToken, secrets: route.secrets.map { WebhookSecret(bytes: $0) })
        switch message {
        case .event(let event):
            return WebhookRequest(
                event, bytes: delivery.event, webhook: delivery.webhook.rawValue, url: url, format: route.format,
                version: route.webhook.version, credentials: credentials, timestamp: timestamp,
                traceparent: traceparent)
        case .alert(let fields):
            return WebhookRequest(
                form: fields,
                id: StandardWebhooks.messageID(event: delivery.eventID, webhook: delivery.webhook.rawValue), url: url,
                credentials: credentials, timestamp: timestamp)
        }
    }

    private func note(_ result: AttemptResult, _ delivery: WebhookDelivery, took: Duration) {
        metrics.attempt(result, took: took)
        guard result.reason != "cancelled" else { return }
        let tookMs = took.wholeMilliseconds
        attempts.note(
            WebhookAttempt(
                webhook: delivery.webhook, eventID: delivery.eventID, eventType: delivery.eventType,
                atMs: Timestamp.nowMs() - tookMs, tookMs: tookMs, status: result.status, code: result.code,
                reason: result.reason))
    }

    /// Where a request needs a place, in this order. One account gets at most half of a host's places, and of the
    /// process's: others have theirs beside a customer whose receivers are slow.
    private func places(account: AccountSID, host: String) -> [Slots] {
        state.withLock { state in
            // Slots in use live on in their users' hands.
            if state.hosts.count >= Self.mostKept { state.hosts = [:] }
            if state.accounts.count >= Self.mostKept { state.accounts = [:] }
            if state.shares.count >= Self.mostKept { state.shares = [:] }
            let share = "\(account) \(host)"
            let ofAccount = state.accounts[account] ?? Slots(configuration.maxInFlightPerAccount)
            let ofShare = state.shares[share] ?? Slots(max(1, configuration.maxInFlightPerHost / 2))
            let ofHost = state.hosts[host] ?? Slots(configuration.maxInFlightPerHost)
            state.accounts[account] = ofAccount
            state.shares[share] = ofShare
            state.hosts[host] = ofHost
            return [ofAccount, ofShare, ofHost, process]
        }
    }
}

extension ServiceSpan {
    /// Ends the span of one request to a webhook. It names neither the URL nor anything of the event's contents.
    fileprivate func end(_ result: AttemptResult, of delivery: WebhookDelivery) {
        set(.httpMethod, "POST")
        set(.webhook, .string(delivery.webhook.rawValue))
        set(.eventType, .string(delivery.eventType))
        if result.status > 0 { set(.httpStatus, .int64(Int64(result.status))) }
        if result.disposition != .delivered { fail(result.reason) }
        end()
    }
}
