import ChallengeModel
import PushProviders
import Wire

/// The events that the tracker derives. Their ids follow only from the facts, so that a repeat has the same id.
enum DerivedEvent {
    /// The event; nil when the news is only for the metrics.
    /// - Parameter context: the trace context of the record behind the news.
    static func event(
        _ news: Fold.News, nowMs: Int64, sequence: UInt64, partition: Int32, context: String? = nil
    ) -> CloudEvent? {
        let writer = EventWriter.ackTracker(partition: partition)
        return event(news, nowMs: nowMs, sequence: sequence, writer: writer, context: context)
    }

    private static func event(
        _ news: Fold.News, nowMs: Int64, sequence: UInt64, writer: EventWriter, context: String?
    ) -> CloudEvent? {
        switch news {
        case .dispatched(let outcome):
            CloudEvent(
                id: "\(outcome.challengeSid)/challenge.dispatched", type: .challengeDispatched,
                account: outcome.accountSid, service: outcome.serviceSid, subject: outcome.challengeSid, timeMs: nowMs,
                sequence: sequence, writer: writer, expiresAtMs: outcome.expiresAtMs > 0 ? outcome.expiresAtMs : nil,
                traceparent: context,
                data: push(outcome).merging(["sent_at": time(outcome.sentAtMs)]) { $1 })
        case .confirmed(let receipt):
            CloudEvent(
                id: "\(receipt.challengeSid)/challenge.confirmed", type: .challengeConfirmed,
                account: receipt.accountSid, service: receipt.serviceSid, subject: receipt.challengeSid, timeMs: nowMs,
                sequence: sequence, writer: writer, traceparent: context,
                data: [
                    "account_sid": .string(receipt.accountSid), "service_sid": .string(receipt.serviceSid),
                    "challenge_sid": .string(receipt.challengeSid), "factor_sid": .string(receipt.factorSid),
                    "dispatch": receipt.dispatchID.isEmpty ? .null : .string(receipt.dispatchID),
                    "channel": .string(word(receipt.channel)), "shown": .string(word(receipt.shown)),
                    "received_at": time(receipt.receivedAtMs),
                ])
        case .undelivered(let escalation):
            undelivered(escalation, nowMs: nowMs, sequence: sequence, writer: writer, context: context)
        case .pushFailed(let outcome):
            CloudEvent(
                id: "\(outcome.challengeSid)/push.failed/\(outcome.factorSid)/\(outcome.dispatchID)", type: .pushFailed,
                account: outcome.accountSid, service: outcome.serviceSid, subject: outcome.challengeSid, timeMs: nowMs,
                sequence: sequence, writer: writer, traceparent: context,
                data: push(outcome).merging([
                    "error_code": .string(String(explained(outcome).errorCode)),
                    "disposition": .string(word(outcome.disposition)), "reason": .string(outcome.reason),
                    "provider_status": .integer(Int64(outcome.providerStatus)),
                    "credential_sid": outcome.credentialSid.isEmpty ? .null : .string(outcome.credentialSid),
                ]) { $1 })
        case .latency, .matched, .ended, .early, .dropped, .foreign:
            nil
        }
    }

    private static func undelivered(
        _ escalation: Escalation, nowMs: Int64, sequence: UInt64, writer: EventWriter, context: String?
    ) -> CloudEvent {
        CloudEvent(
            id: "\(escalation.challengeSid)/challenge.undelivered", type: .challengeUndelivered,
            account: escalation.accountSid, service: escalation.serviceSid, subject: escalation.challengeSid,
            timeMs: nowMs, sequence: sequence, writer: writer, expiresAtMs: escalation.expiresAtMs,
            traceparent: context,
            data: [
                "account_sid": .string(escalation.accountSid), "service_sid": .string(escalation.serviceSid),
                "challenge_sid": .string(escalation.challengeSid), "identity": .string(escalation.identity),
                "attempts": .integer(Int64(escalation.attempts)),
                "fallbacks": .list(escalation.fallbacks.map { .string($0) }),
                "advice": escalation.advice.isEmpty ? .null : .string(escalation.advice),
                "expires_at": time(escalation.expiresAtMs),
                "devices": .list(
                    escalation.devices.map { device in
                        .object([
                            "factor_sid": .string(device.factorSid), "reason": .string(device.reason),
                            "detail": device.detail.isEmpty ? .null : .string(device.detail),
                            "attempts": .integer(Int64(device.attempts)),
                            "last_attempt_at": time(device.lastAttemptAtMs),
                        ])
                    }),
            ])
    }

    private static func push(_ outcome: PushOutcome) -> [String: EventValue] {
        [
            "account_sid": .string(outcome.accountSid), "service_sid": .string(outcome.serviceSid),
            "challenge_sid": .string(outcome.challengeSid), "factor_sid": .string(outcome.factorSid),
            "dispatch": .string(outcome.dispatchID), "platform": .string(outcome.platform.word ?? "unknown"),
        ]
    }

    private static func explained(_ outcome: PushOutcome) -> PushOutcome {
        var outcome = outcome
        outcome.explain()
        return outcome
    }

    private static func time(_ epochMs: Int64) -> EventValue {
        epochMs > 0 ? .string(Timestamp.rfc3339Milliseconds(epochMs)) : .null
    }

    private static func word(_ channel: ReceiptChannel) -> String {
        switch channel {
        case .visiblePush: "visible"
        case .backgroundPush: "background"
        case .poll: "poll"
        case .provider: "provider"
        case .backend: "backend"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }

    private static func word(_ shown: Shown) -> String {
        switch shown {
        case .yes: "yes"
        case .no: "no"
        case .unknown, .UNRECOGNIZED: "unknown"
        }
    }

    private static func word(_ disposition: Disposition) -> String {
        switch disposition {
        case .tokenDead: "token-dead"
        case .credentialFault: "credential-fault"
        default: "rejected"
        }
    }
}
