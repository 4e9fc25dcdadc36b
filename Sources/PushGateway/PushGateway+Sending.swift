import ChallengeModel
import NIOCore
import Wire

extension PushGateway {
    /// Sends one push; `completion` is called exactly once, on an event loop or at once on the caller's thread, and must
    /// not block. An unknown credential is `deferred`, never `rejected`.
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
            // It may be on its way: topic `configuration` is read beside the work.
            return once.call(deferred("unknown-credential", untilMs: nowMs + 5000))
        }
        switch (push.platform, route.provider) {
        case (.apn, .apns(let token, let production, let sandbox, let isSandbox)):
            let useSandbox = push.environment == .environmentUnspecified ? isSandbox : push.environment == .sandbox
            sendAPNs(push, token, useSandbox ? sandbox : production, nowMs, once)
        case (.fcm, .fcm(let account, let token, let lane)):
            let way = OAuthWay(
                token: token, lane: lane, classify: FCMClassification.verdict,
                write: { push, nowMs, request throws(UnfitPush) in
                    try FCMRequest.write(push, path: account.path, nowMs: nowMs, to: request)
                })
            sendWithAccessToken(push, way, nowMs, once)
        case (.hms, .hms(let app, let token, let lane)):
            let way = OAuthWay(
                token: token, lane: lane, classify: HMSClassification.verdict,
                write: { push, nowMs, request throws(UnfitPush) in
                    try HMSRequest.write(push, path: app.path, nowMs: nowMs, to: request)
                })
            sendWithAccessToken(push, way, nowMs, once)
        case (_, .faulty(let reason)):
            once.call(PushAnswer(disposition: .credentialFault, reason: reason))
        default:
            once.call(PushAnswer(disposition: .credentialFault, reason: "wrong-credential"))
        }
    }

    // MARK: APNs

    private func sendAPNs(
        _ push: Push, _ token: ProviderToken?, _ lane: ProviderLane, _ nowMs: Int64, _ once: Completion
    ) {
        guard let pass = enter(lane, push, once) else { return }
        let pushID = push.pushID
        let registeredAtMs = push.registeredAtMs
        let request = request(push, capacity: 1280, isProbe: pass.isProbe, nowMs) { [self] request, end in
            let nowMs = clock.nowMs()
            guard end == .answered else {
                return finish(
                    .withoutAnswer(end, retryAfterMs: request.retryAfterRefusalMs), request, lane, pass, nowMs, once)
            }
            let messageID = request.responseID.isEmpty ? pushID : String(decoding: request.responseID, as: UTF8.self)
            let verdict = APNsClassification.verdict(
                status: request.status, body: request.responseBody, retryAfter: request.retryAfter,
                messageID: messageID, registeredAtMs: registeredAtMs, nowMs: nowMs)
            if verdict.shouldReauthorize, !request.wasReauthorized, let refused = request.authorization,
                let renewed = try? token?.renewed(refused: refused, nowMs: nowMs)
            {
                return lane.submit(request.again(authorization: renewed))
            }
            finish(verdict, request, lane, pass, nowMs, once)
        }
        do throws(UnfitPush) {
            try APNsRequest.write(push, to: request)
        } catch {
            return refuse(error, lane, pass, once)
        }
        do {
            request.authorization = try token?.bearer(nowMs: nowMs)
        } catch {
            lane.leave(.credentialFault, pass)
            return once.call(PushAnswer(disposition: .credentialFault, reason: "bad-key"))
        }
        lane.submit(request)
    }

    // MARK: FCM and HMS

    /// What differs between providers that take an OAuth access token.
    private struct OAuthWay: Sendable {
        let token: OAuthToken
        let lane: ProviderLane
        let classify: @Sendable (_ status: Int, _ body: [UInt8], _ retryAfter: [UInt8], _ nowMs: Int64) -> Verdict
        let write: @Sendable (Push, Int64, OutboundRequest) throws(UnfitPush) -> Void
    }

    private func sendWithAccessToken(_ push: Push, _ way: OAuthWay, _ nowMs: Int64, _ once: Completion) {
        let (token, lane) = (way.token, way.lane)
        guard let pass = enter(lane, push, once) else { return }
        let request = request(push, capacity: 1280, isProbe: pass.isProbe, nowMs) { [self] request, end in
            let nowMs = clock.nowMs()
            guard end == .answered else {
                return finish(
                    .withoutAnswer(end, retryAfterMs: request.retryAfterRefusalMs), request, lane, pass, nowMs, once)
            }
            let verdict = way.classify(request.status, request.responseBody, request.retryAfter, nowMs)
            guard verdict.shouldReauthorize, !request.wasReauthorized, let refused = request.authorization else {
                return finish(verdict, request, lane, pass, nowMs, once)
            }
            token.invalidate(refused)
            token.bearer(until: request.deadline) { [self] outcome in
                if case .bearer(let bearer) = outcome {
                    lane.submit(request.again(authorization: bearer))
                } else {
                    finish(verdict, request, lane, pass, clock.nowMs(), once)
                }
            }
        }
        do throws(UnfitPush) {
            try way.write(push, nowMs, request)
        } catch {
            return refuse(error, lane, pass, once)
        }
        token.bearer(until: request.deadline) { [self] outcome in
            switch outcome {
            case .bearer(let bearer):
                request.authorization = bearer
                lane.submit(request)
            case .unavailable(let retryAtMs, let refused):
                let nowMs = clock.nowMs()
                lane.leave(.neutral, pass)
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

    // MARK: Shared

    /// Nil when it was answered already.
    private func enter(_ lane: ProviderLane, _ push: Push, _ once: Completion) -> ProviderLane.Pass? {
        switch lane.enter(push) {
        case .send(let pass): return pass
        case .busy: once.call(deferred("busy", untilMs: clock.nowMs() + 250))
        // Each has a turn of its own in the row.
        case .stalled(let untilMs):
            once.call(PushAnswer(disposition: .deferred, reason: "stalled", retryAtMs: untilMs))
        case .stayAway(let untilMs):
            once.call(PushAnswer(disposition: .deferred, reason: "circuit-open", retryAtMs: untilMs))
        }
        return nil
    }

    /// A provider that hangs is asked again soon, and its recovery seen.
    private static let probeDeadline = TimeAmount.seconds(3)

    private func request(
        _ push: Push, capacity: Int, isProbe: Bool, _ nowMs: Int64,
        completion: @escaping (OutboundRequest, RequestEnd) -> Void
    ) -> OutboundRequest {
        let left = TimeAmount.milliseconds(min(push.expiresAtMs - nowMs, 86_400_000))
        let request = OutboundRequest(
            capacity: capacity, expiresAtMs: push.expiresAtMs,
            deadline: .now() + min(isProbe ? min(deadline, Self.probeDeadline) : deadline, left),
            completion: completion)
        request.leaveByMs = push.leaveByMs
        request.permit = push.permit
        return request
    }

    private func refuse(
        _ unfit: UnfitPush, _ lane: ProviderLane, _ pass: ProviderLane.Pass, _ once: Completion
    ) {
        lane.leave(.neutral, pass)
        let disposition: Disposition = unfit.reason == "no-background" ? .dropped : .rejected
        once.call(PushAnswer(disposition: disposition, reason: unfit.reason))
    }

    private func finish(
        _ verdict: Verdict, _ request: OutboundRequest, _ lane: ProviderLane, _ pass: ProviderLane.Pass, _ nowMs: Int64,
        _ once: Completion
    ) {
        lane.leave(verdict.health, pass)
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

    /// Up to a fifth more than asked, so that what was deferred together does not come back together.
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
