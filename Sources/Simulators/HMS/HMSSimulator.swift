import DeviceKit
import NIOCore
import NIOHPACK

/// Answers as Huawei's token endpoint (`/oauth2/v3/token`) and HMS Push Kit's v1 API (`/v1/<app id>/messages:send`) do,
/// on one port, and hands what it accepts to the ``PushNetwork``; phones' reports come back through ``HMSReceipts``.
///
/// Where Huawei's pages leave room: an access token that is not known is 401 with 80200001, one that has run out 200
/// with 80200003, one of another app 80300002; names that the reference does not have are 80100003. Topics, conditions
/// and the daily limits of messages are not in here. Faults hit sending; of them only
/// ``ProviderFaults/tokenEndpointFails`` hits the token endpoint.
struct HMSSimulator: ProviderResponder {
    static let tokenPath = "/oauth2/v3/token"

    let network: PushNetwork
    let apps: HMSApps
    let receipts: HMSReceipts
    let injector: FaultInjector
    let nowMs: @Sendable () -> Int64
    let limits: ConnectionLimits

    private static let contentType = (name: "content-type", value: "application/json;charset=utf-8")

    var faults: ProviderFaults { injector.faults }
    func streamOpened(count: Int) -> StreamFate { injector.streamOpened(count: count) }
    func note(_ happening: ConnectionHappening) { network.note(happening, provider: .hms) }

    func respond(to request: ProviderRequest) -> ProviderAction {
        if let time = time(for: request) { return time }
        let now = nowMs()
        if request.path == Self.tokenPath { return .reply(token(request, nowMs: now), delayMs: 0) }
        let decision = injector.decide()
        // As long as Huawei's, and like theirs the time first.
        let requestID = "\(now)" + String(Int.random(in: 10_000_000_000..<100_000_000_000))
        switch decision.harm {
        case .outage: return refusal(.flowControl, requestID, "", decision: decision, nowMs: now)
        case .error(let word): return refusal(.named(word), requestID, "", decision: decision, nowMs: now)
        case .reset: return .reset
        case .silence(let delivers):
            if delivers, let (message, app) = try? check(request, nowMs: now), !message.validateOnly {
                send(message, app: app, requestID, drops: false, nowMs: now)
            }
            network.noteSilence(.hms)
            return .silence
        case nil: break
        }
        var token = ""
        do throws(HMSResult) {
            let (message, app) = try check(request, nowMs: now)
            token = message.tokens[0]
            let (good, illegal) = standing(of: message.tokens)
            guard !good.isEmpty else { throw HMSResult.allTokensInvalid }
            if !message.validateOnly {
                var sent = message
                sent.tokens = good
                send(sent, app: app, requestID, drops: decision.drops, nowMs: now)
            }
            guard illegal.isEmpty else { throw HMSResult.partial(success: good.count, illegal: illegal) }
            return .reply(
                ProviderReply(
                    status: 200, headers: [Self.contentType],
                    body: HMSResult.body(code: "80000000", message: "Success", requestID: requestID),
                    isAuthenticated: true), delayMs: decision.delayMs)
        } catch {
            return refusal(error, requestID, token, decision: decision, nowMs: now)
        }
    }

    private func token(_ request: ProviderRequest, nowMs: Int64) -> ProviderReply {
        guard request.method == "POST" else { return ProviderReply(status: 405) }
        if injector.faults.tokenEndpointFails { return ProviderReply(status: 503) }
        do {
            let body = try apps.grant(form: Array(request.body.readableBytesView), nowSeconds: nowMs / 1000)
            return ProviderReply(status: 200, headers: [Self.contentType], body: body, isAuthenticated: true)
        } catch {
            return ProviderReply(status: error.status, headers: [Self.contentType], body: error.body)
        }
    }

    private func check(_ request: ProviderRequest, nowMs: Int64) throws(HMSResult) -> (HMSMessage, app: String) {
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 4, parts[1] == "v1", !parts[2].isEmpty, parts[3] == "messages:send" else {
            throw .notFound
        }
        guard request.method == "POST" else { throw .methodNotAllowed }
        let app = try apps.app(bearer: request.headers.first(name: "authorization"), nowSeconds: nowMs / 1000)
        guard app == parts[2] else { throw .noPermission }
        return (try HMSMessage(Array(request.body.readableBytesView), length: request.bodyLength), app)
    }

    private func standing(of tokens: [String]) -> (good: [String], illegal: [String]) {
        var result: (good: [String], illegal: [String]) = ([], [])
        for token in tokens {
            switch network.standing(.hms, token) {
            case .unregistered: result.illegal.append(token)
            case .unknown where network.refusesUnknownTokens: result.illegal.append(token)
            case .registered, .unknown: result.good.append(token)
            }
        }
        return result
    }

    private func send(_ message: HMSMessage, app: String, _ requestID: String, drops: Bool, nowMs: Int64) {
        for token in message.tokens {
            var appID = ""
            if case .registered(let registered) = network.standing(.hms, token) { appID = registered }
            // Known before the phone has it: its report may be quick.
            receipts.sent(requestID: requestID, token: token, app: app, tag: message.tag)
            network.accept(
                SimulatedPush(
                    provider: .hms, messageID: requestID, pushToken: token, appID: appID,
                    pushType: message.hasNotification ? "notification" : "data",
                    priority: message.isHighPriority ? 10 : 5,
                    collapseKey: message.collapseKey < 0 ? nil : String(message.collapseKey),
                    expiresAtMs: nowMs + message.lifeSeconds * 1000, alert: nil, values: message.values,
                    acceptedAtMs: nowMs), drops: drops, nowMs: nowMs)
        }
    }

    private func refusal(
        _ result: HMSResult, _ requestID: String, _ token: String, decision: FaultDecision, nowMs: Int64
    ) -> ProviderAction {
        // Some of the tokens were sent to: those are in the log as accepted.
        if result.code != "80100000" {
            network.refuse(
                .hms, messageID: requestID, pushToken: token, status: result.status, reason: result.reason,
                nowMs: nowMs)
        }
        let body = result.body(requestID: requestID)
        var headers = body.isEmpty ? [] : [Self.contentType]
        if decision.retryAfterSeconds > 0, result.status == 429 || result.status >= 500 {
            headers.append(("retry-after", String(decision.retryAfterSeconds)))
        }
        return .reply(ProviderReply(status: result.status, headers: headers, body: body), delayMs: decision.delayMs)
    }
}
