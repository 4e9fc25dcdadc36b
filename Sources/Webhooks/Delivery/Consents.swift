import ChallengeModel
import GuardedHTTP
import Synchronization

/// The consents of receivers to get events, as this process knows them: abuse protection of CloudEvents' HTTP webhooks
/// 1.0.2, section 4. A receiver is asked by OPTIONS, and asked again after an hour. Times are milliseconds of a clock
/// that never goes back.
final class Consents: Sendable {
    /// A receiver's answer to the question whether it wants events.
    enum Answer: Sendable, Hashable {
        /// - Parameter everyMs: the shortest time between two requests; 0: any.
        case granted(everyMs: Int64)
        case refused
    }

    private struct Consent {
        let url: String
        let untilMs: Int64
        let everyMs: Int64
        var nextMs: Int64
    }

    static let keptMs: Int64 = 3_600_000
    static let originHeader = "WebHook-Request-Origin"
    private static let mostKept = 20_000

    private let kept = Mutex<[WebhookSID: Consent]>([:])

    /// Consent is the name of the sender or an asterisk, whatever the status is.
    static func answer(_ answer: HTTPAnswer, origin: String) -> Answer {
        guard let allowed = answer.allowedOrigin?.lowercased(), allowed == "*" || allowed == origin.lowercased() else {
            return .refused
        }
        // Requests a minute. What cannot be read is no limit: 429 is one.
        guard let rate = answer.allowedRate.flatMap({ Int64($0) }), rate > 0 else { return .granted(everyMs: 0) }
        return .granted(everyMs: 60_000 / rate)
    }

    /// Takes the next turn of a receiver that has consented.
    /// - Returns: nil: it is to be asked. Otherwise milliseconds until its rate allows a request; 0: now.
    func take(_ webhook: WebhookSID, url: String, nowMs: Int64) -> Int64? {
        kept.withLock { kept in
            guard var consent = kept[webhook], consent.url == url, nowMs < consent.untilMs else { return nil }
            guard consent.nextMs <= nowMs else { return consent.nextMs - nowMs }
            consent.nextMs = nowMs + consent.everyMs
            kept[webhook] = consent
            return 0
        }
    }

    /// - Parameter url: as it was asked.
    func grant(_ webhook: WebhookSID, url: String, everyMs: Int64, nowMs: Int64) {
        kept.withLock { kept in
            if kept.count >= Self.mostKept { kept = [:] }
            // Tasks that asked at the same time share the turns.
            guard
                kept[webhook]?.url != url || kept[webhook]?.everyMs != everyMs
                    || (kept[webhook]?.untilMs ?? 0) <= nowMs
            else { return }
            kept[webhook] = Consent(url: url, untilMs: nowMs + Self.keptMs, everyMs: everyMs, nextMs: nowMs)
        }
    }
}
