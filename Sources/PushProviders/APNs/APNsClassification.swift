import ChallengeModel
import Foundation
import Wire

/// What APNs answers mean. Source: Apple, "Handling notification responses from APNs".
enum APNsClassification {
    /// How a push is bounded: what the table says of one reason.
    enum Meaning: Equatable {
        /// This push will never be taken: our fault, or the app's configuration.
        case rejected
        case tokenDead
        /// Key, team, topic or environment: every push with this credential fails.
        case credentialFault
        /// Renew the provider token, send once more; then a credential fault.
        case reauthorize
        /// This device only: again later.
        case deviceBusy(ms: Int64)
        /// The provider as a whole: again later.
        case providerBusy(ms: Int64)
    }

    /// Every reason that Apple documents.
    ///
    /// `DeviceTokenNotForTopic` is `rejected`, not dead: the token lives, for another app. 410 is told apart by its time
    /// in ``verdict(status:body:retryAfter:messageID:registeredAtMs:nowMs:)``. `BadDeviceToken` is what every token gets that
    /// is sent to the other environment or with another app's key: it says nothing about the token's life.
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
        // The connection and the key are unusable for a while.
        "TooManyProviderTokenUpdates": .providerBusy(ms: 60_000),
        "TooManyRequests": .deviceBusy(ms: 10_000),
        "InternalServerError": .providerBusy(ms: 2000),
        "ServiceUnavailable": .providerBusy(ms: 5000),
        "Shutdown": .providerBusy(ms: 1000),
    ]

    /// - Parameters:
    ///   - body: JSON `{"reason":…,"timestamp":…}`, or anything.
    ///   - registeredAtMs: when this token was registered; 0: not known.
    static func verdict(
        status: Int, body: [UInt8], retryAfter: [UInt8], messageID: String, registeredAtMs: Int64, nowMs: Int64
    ) -> Verdict {
        if (200..<300).contains(status) {
            // Apple's word for success is 200 and no other.
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
                // The same token was registered again after it had died. This push does not arrive, but the registration
                // must not be killed for the death of its predecessor.
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

    /// For a reason that Apple has not told us of.
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
        // Apple's page says milliseconds; a value in seconds would make every token long dead. One that no time can be says nothing.
        let ms = stamp > 0 && stamp < 100_000_000_000 ? stamp * 1000 : stamp
        return (reason, Timestamp.range.contains(ms) ? ms : 0)
    }
}
