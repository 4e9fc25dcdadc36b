import ChallengeModel
import Foundation
import Wire

/// Classifies the answers of APNs. Source: Apple, "Handling notification responses from APNs".
enum APNsClassification {
    /// The meaning of one reason in the table.
    enum Meaning: Equatable {
        /// APNs will never accept this push, because of a fault of Beckon or of the app's configuration.
        case rejected
        case tokenDead
        /// Key, team, topic or environment is wrong: every push with this credential fails.
        case credentialFault
        /// Renew the provider token and send once more. A second refusal is a credential fault.
        case reauthorize
        /// Only this device is busy: send again later.
        case deviceBusy(ms: Int64)
        /// The whole provider is busy: send again later.
        case providerBusy(ms: Int64)
    }

    /// Every reason that Apple documents. `DeviceTokenNotForTopic` is `rejected`, not dead: the token is valid for
    /// another app. The time in a 410 decides its meaning, see
    /// ``verdict(status:body:retryAfter:messageID:registeredAtMs:nowMs:)``. APNs answers `BadDeviceToken` for every
    /// token that is sent to the other environment or with another app's key, so it does not say that the token is
    /// dead.
    static let meanings: [String: Meaning] = [
        "BadCollapseId": .rejected,
        "BadDeviceToken": .rejected,
        "BadExpirationDate": .rejected,
        "BadMessageId": .rejected,
        "BadPriority": .rejected,
        "BadTopic": .rejected,
        "DeviceTokenNotForTopic": .rejected,
        "DuplicateHeaders": .rejected,
        "IdleTimeout": .providerBusy(ms: 1000),
        "InvalidPushType": .rejected,
        "MissingDeviceToken": .rejected,
        "MissingTopic": .rejected,
        "PayloadEmpty": .rejected,
        "TopicDisallowed": .credentialFault,
        "BadCertificate": .credentialFault,
        "BadCertificateEnvironment": .credentialFault,
        "BadEnvironmentKeyIdInToken": .credentialFault,
        "ExpiredProviderToken": .reauthorize,
        "Forbidden": .credentialFault,
        "InvalidProviderToken": .credentialFault,
        "MissingProviderToken": .credentialFault,
        "UnrelatedKeyIdInToken": .credentialFault,
        "BadPath": .rejected,
        "MethodNotAllowed": .rejected,
        "ExpiredToken": .tokenDead,
        "Unregistered": .tokenDead,
        "PayloadTooLarge": .rejected,
        // APNs refuses this connection and this key for a while.
        "TooManyProviderTokenUpdates": .providerBusy(ms: 60_000),
        "TooManyRequests": .deviceBusy(ms: 10_000),
        "InternalServerError": .providerBusy(ms: 2000),
        "ServiceUnavailable": .providerBusy(ms: 5000),
        "Shutdown": .providerBusy(ms: 1000),
    ]

    /// - Parameters:
    ///   - body: usually JSON `{"reason":…,"timestamp":…}`; other content is accepted.
    ///   - registeredAtMs: time of this token's registration; 0: unknown.
    static func verdict(
        status: Int, body: [UInt8], retryAfter: [UInt8], messageID: String, registeredAtMs: Int64, nowMs: Int64
    ) -> Verdict {
        if (200..<300).contains(status) {
            // For Apple, only 200 means success.
            guard status == 200 else {
                return Verdict(
                    disposition: .unknown, reason: "HTTP \(status)", health: .failure(retryAfterMs: 0))
            }
            return Verdict(disposition: .accepted, reason: "", providerMessageID: messageID)
        }
        let parsed = parse(body)
        let reason = parsed.reason ?? "HTTP \(status)"
        let wait = RetryAfter.milliseconds(retryAfter, nowMs: nowMs)
        var verdict: Verdict
        switch parsed.reason.flatMap({ meanings[$0] }) ?? meaning(of: status) {
        case .rejected:
            verdict = Verdict(disposition: .rejected, reason: reason)
        case .tokenDead:
            verdict = Verdict(disposition: .tokenDead, reason: reason, tokenDiedAtMs: parsed.timestampMs)
            if parsed.timestampMs > 0, parsed.timestampMs < registeredAtMs {
                // The same token was registered again after it had died. This push does not arrive, but the new
                // registration must not be marked dead because of the old one.
                verdict = Verdict(
                    disposition: .rejected, reason: "Stale\(reason)", tokenDiedAtMs: parsed.timestampMs)
            }
        case .credentialFault:
            verdict = Verdict(disposition: .credentialFault, reason: reason, health: .credentialFault)
        case .reauthorize:
            verdict = Verdict(
                disposition: .credentialFault, reason: reason, shouldReauthorize: true, health: .credentialFault)
        case .deviceBusy(let ms):
            verdict = .deferred(reason, afterMs: wait ?? ms, .success)
        case .providerBusy(let ms):
            verdict = .deferred(reason, afterMs: wait ?? ms, .failure(retryAfterMs: wait ?? 0))
            if status == 429 { verdict.health = .pause(ms: wait ?? ms) }
        }
        verdict.providerMessageID = messageID
        return verdict
    }

    /// The meaning of a reason that Apple does not document.
    private static func meaning(of status: Int) -> Meaning {
        switch status {
        case 403: .credentialFault
        case 410: .tokenDead
        case 429: .deviceBusy(ms: 10_000)
        case 500...: .providerBusy(ms: 5000)
        default: .rejected
        }
    }

    private static func parse(_ body: [UInt8]) -> (reason: String?, timestampMs: Int64) {
        guard !body.isEmpty,
            let object = try? JSONSerialization.jsonObject(with: Data(body)) as? [String: Any],
            let reason = object["reason"] as? String, reason.utf8.count <= 64
        else { return (nil, 0) }
        let stamp = (object["timestamp"] as? NSNumber)?.int64Value ?? 0
        // Apple documents milliseconds. A value in seconds, read as milliseconds, would make every token look long
        // dead. A value that cannot be a time is ignored.
        let ms = stamp > 0 && stamp < 100_000_000_000 ? stamp * 1000 : stamp
        return (reason, Timestamp.range.contains(ms) ? ms : 0)
    }
}
