import DeviceKit
import Foundation
import NIOCore
import NIOHPACK
import Synchronization
import Wire

/// Answers as Google's token endpoint (`/token`) and FCM's v1 API (`/v1/projects/<id>/messages:send`) do, on one port,
/// and hands what it accepts to the ``PushNetwork``.
///
/// Faults hit sending; of them only ``ProviderFaults/tokenEndpointFails`` hits the token endpoint.
struct FCMSimulator: ProviderResponder {
    let network: PushNetwork
    let accounts: FCMAccounts
    let injector: FaultInjector
    let nowMs: @Sendable () -> Int64
    let limits: ConnectionLimits
    /// Known when the port is.
    let ownTokenURL: SettableText

    var faults: ProviderFaults { injector.faults }
    func streamOpened(count: Int) -> StreamFate { injector.streamOpened(count: count) }
    func note(_ happening: ConnectionHappening) { network.note(happening, provider: .fcm) }

    func respond(to request: ProviderRequest) -> ProviderAction {
        if let time = time(for: request) { return time }
        let now = nowMs()
        if request.path == "/token" { return .reply(token(request, nowMs: now), delayMs: 0) }
        let decision = injector.decide()
        if let harm = decision.harm { return harmed(harm, request, decision: decision, nowMs: now) }
        var token = ""
        do {
            let (push, project) = try check(request, token: &token, nowMs: now)
            if let push { network.accept(push, drops: decision.drops, nowMs: now) }
            let name = push?.messageID ?? "projects/\(project)/messages/fake_message_id"
            return .reply(
                ProviderReply(
                    status: 200, headers: [("content-type", "application/json; charset=UTF-8")],
                    body: JSONValue.object([("name", .string(name))]).bytes, isAuthenticated: true),
                delayMs: decision.delayMs)
        } catch {
            return refusal(error, token: token, decision: decision, nowMs: now)
        }
    }

    private func token(_ request: ProviderRequest, nowMs: Int64) -> ProviderReply {
        let headers = [(name: "content-type", value: "application/json; charset=UTF-8")]
        guard request.method == "POST" else {
            return ProviderReply(
                status: 405, headers: headers,
                body: OAuthError(error: "invalid_request", description: "Only POST is allowed").body)
        }
        if injector.faults.tokenEndpointFails {
            return ProviderReply(
                status: 503, headers: headers,
                body: OAuthError(error: "internal_failure", description: "Backend Error").body)
        }
        do {
            let body = try accounts.grant(
                form: Array(request.body.readableBytesView), ownAudience: ownTokenURL.text, nowSeconds: nowMs / 1000)
            return ProviderReply(status: 200, headers: headers, body: body, isAuthenticated: true)
        } catch {
            return ProviderReply(status: 400, headers: headers, body: error.body)
        }
    }

    /// - Parameter token: set to the message's as soon as it is known, for the log.
    /// - Returns: nothing to deliver when the request asks only for a check.
    private func check(
        _ request: ProviderRequest, token: inout String, nowMs: Int64
    ) throws(FCMError) -> (SimulatedPush?, project: String) {
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: false)
        guard request.method == "POST", parts.count == 5, parts[1] == "v1", parts[2] == "projects", !parts[3].isEmpty,
            parts[4] == "messages:send"
        else { throw .notFound }
        let project = String(parts[3])
        let allowed = try accounts.project(
            bearer: request.headers.first(name: "authorization"), nowSeconds: nowMs / 1000)
        guard allowed == project else { throw .otherProject }
        guard request.bodyLength <= limits.longestBody else { throw .invalidArgument("The request is too large.") }
        let message = try FCMMessage(Array(request.body.readableBytesView))
        token = message.token
        var app = ""
        switch network.standing(.fcm, message.token) {
        case .unregistered: throw .unregistered
        case .unknown where network.refusesUnknownTokens: throw .unregistered
        case .registered(let registered): app = registered
        case .unknown: break
        }
        if let owner = network.project(of: message.token), owner != project { throw .senderIDMismatch }
        if message.validateOnly { return (nil, project) }
        let name = "projects/\(project)/messages/" + UUID().uuidString.lowercased()
        return (
            SimulatedPush(
                provider: .fcm, messageID: name, pushToken: message.token, appID: app,
                pushType: message.hasNotification ? "notification" : "data", priority: message.isHighPriority ? 10 : 5,
                collapseKey: message.collapseKey,
                expiresAtMs: message.lifeSeconds == 0 ? 0 : nowMs + message.lifeSeconds * 1000, alert: nil,
                values: message.values, acceptedAtMs: nowMs), project
        )
    }

    private func harmed(
        _ harm: FaultDecision.Harm, _ request: ProviderRequest, decision: FaultDecision, nowMs: Int64
    ) -> ProviderAction {
        switch harm {
        case .outage: return refusal(.unavailable, token: "", decision: decision, nowMs: nowMs)
        case .error(let word): return refusal(.named(word), token: "", decision: decision, nowMs: nowMs)
        case .reset: return .reset
        case .silence(let delivers):
            var token = ""
            if delivers, let push = try? check(request, token: &token, nowMs: nowMs).0 {
                network.accept(push, drops: false, nowMs: nowMs)
            }
            network.noteSilence(.fcm)
            return .silence
        }
    }

    private func refusal(_ error: FCMError, token: String, decision: FaultDecision, nowMs: Int64) -> ProviderAction {
        network.refuse(
            .fcm, messageID: "", pushToken: token, status: error.status, reason: error.reason, nowMs: nowMs)
        var headers = [(name: "content-type", value: "application/json; charset=UTF-8")]
        if decision.retryAfterSeconds > 0, error.status == 429 || error.status >= 500 {
            headers.append(("retry-after", String(decision.retryAfterSeconds)))
        }
        return .reply(
            ProviderReply(status: error.status, headers: headers, body: error.body), delayMs: decision.delayMs)
    }
}

/// A text that becomes known later.
final class SettableText: Sendable {
    private let value = Mutex("")
    var text: String { value.withLock { $0 } }
    func set(_ text: String) { value.withLock { $0 = text } }
}
