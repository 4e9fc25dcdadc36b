import ChallengeModel
import NIOCore
public import PushProviders
import Wire

extension PushGateway {
    /// Sends one push. `completion` is called exactly once, on an event loop or at once on the caller's thread, and
    /// must not block. A push with an unknown credential is `deferred`, never `rejected`.
    ///
    /// May be called from any thread, and from within a completion. Nothing is sent at or after the push's expiry.
    public func send(_ push: Push, completion: @escaping @Sendable (PushAnswer) -> Void) {
        let nowMs = clock.nowMs()
        let once = Completion(gateway: self, completion)
        guard push.expiresAtMs > nowMs else {
            return once.call(PushAnswer(disposition: .dropped, reason: "expired"))
        }
        guard !isClosing else { return once.call(deferred("closing", untilMs: nowMs + 1000)) }
        guard let route = route(push.credentialSID) else {
            // The credential may still arrive, because topic `configuration` is read concurrently.
            return once.call(deferred("unknown-credential", untilMs: nowMs + 5000))
        }
        guard let way = route.way else {
            return once.call(PushAnswer(disposition: .credentialFault, reason: "bad-key"))
        }
        guard way.platform == push.platform else {
            return once.call(PushAnswer(disposition: .credentialFault, reason: "wrong-credential"))
        }
        let sender = way.sender(for: push)
        guard let pass = enter(sender, push, once) else { return }
        let (pushID, registeredAtMs) = (push.pushID, push.registeredAtMs)
        let request = request(push, isProbe: pass.isProbe, nowMs) { [self] request, end in
            let nowMs = clock.nowMs()
            guard end == .answered else {
                return finish(
                    .withoutAnswer(end, retryAfterMs: request.retryAfterRefusalMs), request, sender, pass, nowMs, once)
            }
            let verdict = way.credential.verdict(
                on: ProviderAnswer(
                    status: request.status, body: request.responseBody, retryAfter: request.retryAfter,
                    id: request.responseID, pushID: pushID, registeredAtMs: registeredAtMs, nowMs: nowMs))
            guard verdict.shouldReauthorize, !request.wasReauthorized, let refused = request.authorization else {
                return finish(verdict, request, sender, pass, nowMs, once)
            }
            renew(way.authorization, refused, until: request.deadline, nowMs) { [self] renewed in
                if let renewed { return sender.submit(request.again(authorization: renewed)) }
                finish(verdict, request, sender, pass, clock.nowMs(), once)
            }
        }
        do throws(UnfitPush) {
            try way.credential.write(push, nowMs: nowMs, to: request)
        } catch {
            return refuse(error, sender, pass, once)
        }
        switch way.authorization {
        case .connection:
            sender.submit(request)
        case .signed(let signer):
            do {
                request.authorization = try signer.bearer(nowMs: nowMs)
            } catch {
                sender.leave(.credentialFault, pass)
                return once.call(PushAnswer(disposition: .credentialFault, reason: "bad-key"))
            }
            sender.submit(request)
        case .fetched(let token):
            submit(request, push, token, sender, pass, once)
        }
    }

    private func submit(
        _ request: OutboundRequest, _ push: Push, _ token: OAuthToken, _ sender: ProviderSender,
        _ pass: ProviderSender.Pass,
        _ once: Completion
    ) {
        token.bearer(until: request.deadline) { [self] outcome in
            switch outcome {
            case .bearer(let bearer):
                request.authorization = bearer
                sender.submit(request)
            case .unavailable(let retryAtMs, let refused):
                let nowMs = clock.nowMs()
                sender.leave(.neutral, pass)
                if push.expiresAtMs <= nowMs {
                    once.call(PushAnswer(disposition: .dropped, reason: "expired"))
                } else if let refused {
                    once.call(PushAnswer(disposition: .credentialFault, reason: refused))
                } else {
                    once.call(deferred("access-token", untilMs: max(retryAtMs, nowMs + 100)))
                }
            }
        }
    }

    /// Calls `body` once: with a new token instead of the refused one, or with nil when no new token is possible.
    private func renew(
        _ authorization: CredentialRoute.Authorization, _ refused: SharedBytes, until deadline: NIODeadline,
        _ nowMs: Int64, _ body: @escaping @Sendable (SharedBytes?) -> Void
    ) {
        switch authorization {
        case .connection: body(nil)
        case .signed(let signer): body(try? signer.renewed(refused: refused, nowMs: nowMs))
        case .fetched(let token):
            token.invalidate(refused)
            token.bearer(until: deadline) { outcome in
                if case .bearer(let bearer) = outcome { body(bearer) } else { body(nil) }
            }
        }
    }

    /// Nil when the push was already answered.
    private func enter(_ sender: ProviderSender, _ push: Push, _ once: Completion) -> ProviderSender.Pass? {
        switch sender.enter(push) {
        case .send(let pass): return pass
        case .busy: once.call(deferred("busy", untilMs: clock.nowMs() + 250))
        // Each push has its own slot in the return queue.
        case .stalled(let untilMs):
            once.call(PushAnswer(disposition: .deferred, reason: "stalled", retryAtMs: untilMs))
        case .stayAway(let untilMs):
            once.call(PushAnswer(disposition: .deferred, reason: "circuit-open", retryAtMs: untilMs))
        }
        return nil
    }

    /// A short deadline, so that a hanging provider is probed again soon and its recovery is noticed.
    private static let probeDeadline = TimeAmount.seconds(3)

    /// Size of fields and body that most pushes do not exceed, in bytes.
    private static let usualSize = 1408

    private func request(
        _ push: Push, isProbe: Bool, _ nowMs: Int64,
        completion: @escaping (OutboundRequest, RequestEnd) -> Void
    ) -> OutboundRequest {
        let left = TimeAmount.milliseconds(min(push.expiresAtMs - nowMs, 86_400_000))
        let request = OutboundRequest(
            capacity: Self.usualSize, expiresAtMs: push.expiresAtMs,
            deadline: .now() + min(isProbe ? min(deadline, Self.probeDeadline) : deadline, left),
            completion: completion)
        request.leaveByMs = push.leaveByMs
        request.permit = push.permit
        return request
    }

    private func refuse(
        _ unfit: UnfitPush, _ sender: ProviderSender, _ pass: ProviderSender.Pass, _ once: Completion
    ) {
        sender.leave(.neutral, pass)
        let disposition: Disposition = unfit.reason == "no-background" ? .dropped : .rejected
        once.call(PushAnswer(disposition: disposition, reason: unfit.reason))
    }

    private func finish(
        _ verdict: Verdict, _ request: OutboundRequest, _ sender: ProviderSender, _ pass: ProviderSender.Pass,
        _ nowMs: Int64,
        _ once: Completion
    ) {
        sender.leave(verdict.health, pass)
        once.call(
            PushAnswer(
                disposition: verdict.disposition, reason: verdict.reason, status: request.status,
                retryAtMs: verdict.disposition == .deferred ? Self.retryAt(nowMs, verdict.retryAfterMs) : 0,
                providerMessageID: verdict.providerMessageID, tokenDiedAtMs: verdict.tokenDiedAtMs,
                sentAtMs: request.sentAtMs,
                providerDateMs: request.date.isEmpty
                    ? 0
                    : (Timestamp.epochSeconds(httpDate: String(decoding: request.date, as: UTF8.self)) ?? 0) * 1000))
    }

    private func deferred(_ reason: String, untilMs: Int64) -> PushAnswer {
        let nowMs = clock.nowMs()
        return PushAnswer(
            disposition: .deferred, reason: reason, retryAtMs: Self.retryAt(nowMs, max(untilMs - nowMs, 0)))
    }

    /// Adds up to a fifth, so that pushes that were deferred together do not return together.
    private static func retryAt(_ nowMs: Int64, _ afterMs: Int64) -> Int64 {
        nowMs + afterMs + Int64.random(in: 0...max(afterMs / 5, 1))
    }
}

/// The caller's completion, and the count of what is outstanding: one of these per push, called once.
struct Completion: Sendable {
    private let gateway: PushGateway
    private let body: @Sendable (PushAnswer) -> Void

    init(gateway: PushGateway, _ body: @escaping @Sendable (PushAnswer) -> Void) {
        self.gateway = gateway
        self.body = body
        gateway.began()
    }

    func call(_ answer: PushAnswer) {
        gateway.ended { body(answer) }
    }
}
