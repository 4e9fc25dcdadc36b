import DeviceKit
import Foundation
import NIOCore
import NIOHPACK
import Wire

/// Answers as Apple's push service does, and hands what it accepts to the ``PushNetwork``.
///
/// Strictness where Apple's pages leave room: a connection has MAX_CONCURRENT_STREAMS 1 until its first authenticated
/// answer, a second stream before that is reset with REFUSED_STREAM; `iat` may not lie in the future by a second; a
/// payload that is not a dictionary with `aps` is `PayloadEmpty`; push type and payload must agree, else
/// `InvalidPushType`; a missing push type is `InvalidPushType`.
struct APNsSimulator: ProviderResponder {
    let network: PushNetwork
    let tokens: APNsProviderTokens
    let injector: FaultInjector
    let nowMs: @Sendable () -> Int64
    let limits: ConnectionLimits

    var faults: ProviderFaults { injector.faults }
    func streamOpened(count: Int) -> StreamFate { injector.streamOpened(count: count) }
    func note(_ happening: ConnectionHappening) { network.note(happening, provider: .apn) }

    func respond(to request: ProviderRequest) -> ProviderAction {
        let decision = injector.decide()
        let now = nowMs()
        let headers = APNsHeaders(method: request.method, path: request.path, headers: request.headers)
        let messageID = headers.messageID ?? UUID().uuidString.lowercased()
        if let harm = decision.harm {
            return harmed(harm, request, headers, messageID, decision: decision, nowMs: now)
        }
        do {
            let push = try check(request, headers, messageID, nowMs: now)
            network.accept(push, drops: decision.drops, nowMs: now)
            return .reply(
                ProviderReply(status: 200, headers: [("apns-id", messageID)], isAuthenticated: true),
                delayMs: decision.delayMs)
        } catch {
            return refusal(error, messageID, headers, decision: decision, nowMs: now)
        }
    }

    /// Everything that Apple would look at, in one order: request, provider token, headers, payload, device.
    private func check(
        _ request: ProviderRequest, _ headers: APNsHeaders, _ messageID: String, nowMs: Int64
    ) throws(APNsReason) -> SimulatedPush {
        if let fault = headers.fault { throw fault }
        let topicIsBad = headers.laterFault == .missingTopic || headers.laterFault == .badTopic
        try tokens.check(
            authorization: headers.providerToken, topic: topicIsBad ? nil : headers.topic, nowSeconds: nowMs / 1000)
        if let fault = headers.laterFault { throw fault }
        guard let topic = headers.topic, let pushType = headers.pushType else { throw .missingTopic }
        let payload = try APNsPayload(
            Array(request.body.readableBytesView), length: request.bodyLength, pushType: pushType)
        switch network.standing(.apn, headers.deviceToken) {
        case .unregistered: throw .unregistered
        case .unknown where network.refusesUnknownTokens: throw .badDeviceToken
        case .registered(let app) where app != topic: throw .deviceTokenNotForTopic
        case .registered, .unknown: break
        }
        return SimulatedPush(
            provider: .apn, messageID: messageID, pushToken: headers.deviceToken, appID: topic,
            pushType: pushType.rawValue, priority: headers.priority ?? 10, collapseKey: headers.collapseID,
            expiresAtMs: headers.expiration.map { $0 * 1000 }, alert: payload.alert, values: payload.values,
            acceptedAtMs: nowMs)
    }

    private func harmed(
        _ harm: FaultDecision.Harm, _ request: ProviderRequest, _ headers: APNsHeaders, _ messageID: String,
        decision: FaultDecision, nowMs: Int64
    ) -> ProviderAction {
        switch harm {
        case .outage: return refusal(.serviceUnavailable, messageID, headers, decision: decision, nowMs: nowMs)
        case .error(let word):
            let reason = APNsReason(rawValue: word) ?? .internalServerError
            return refusal(reason, messageID, headers, decision: decision, nowMs: nowMs)
        case .reset: return .reset
        case .silence(let delivers):
            if delivers, let push = try? check(request, headers, messageID, nowMs: nowMs) {
                network.accept(push, drops: false, nowMs: nowMs)
            }
            network.noteSilence(.apn)
            return .silence
        }
    }

    private func refusal(
        _ reason: APNsReason, _ messageID: String, _ headers: APNsHeaders, decision: FaultDecision, nowMs: Int64
    ) -> ProviderAction {
        network.refuse(
            .apn, messageID: messageID, pushToken: headers.deviceToken, status: reason.status,
            reason: reason.rawValue, nowMs: nowMs)
        var body = JSONValue.object([("reason", .string(reason.rawValue))])
        if reason == .unregistered || reason == .expiredToken {
            var since = nowMs
            if case .unregistered(let sinceMs) = network.standing(.apn, headers.deviceToken) { since = sinceMs }
            body = body.adding("timestamp", .integer(since))
        }
        var reply = ProviderReply(status: reason.status, headers: [("apns-id", messageID)], body: body.bytes)
        reply.headers.append(("content-type", "application/json"))
        if decision.harm != nil, decision.retryAfterSeconds > 0 {
            reply.headers.append(("retry-after", String(decision.retryAfterSeconds)))
        }
        // Whoever gets past the provider token has proved who they are, whatever is wrong with the push.
        switch reason {
        case .methodNotAllowed, .badPath, .missingDeviceToken, .duplicateHeaders, .badMessageID, .missingProviderToken,
            .invalidProviderToken, .expiredProviderToken, .tooManyProviderTokenUpdates:
            break
        default: reply.isAuthenticated = decision.harm == nil
        }
        return .reply(reply, delayMs: decision.delayMs)
    }
}
