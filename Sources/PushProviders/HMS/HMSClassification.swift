import ChallengeModel
import Foundation
import Wire

/// Classifies the answers of HMS. The HTTP status says little: most answers are 200 with a `code`. Source: Huawei,
/// "Sending Messages", result codes.
enum HMSClassification {
    enum Meaning: Equatable {
        case accepted
        case rejected
        case credentialFault
        /// HMS refuses the access token: fetch a new token once. A second refusal is a credential fault.
        case reauthorize
        /// HMS is unavailable: wait for `Retry-After`, or for `ms` milliseconds without it.
        case unavailable(ms: Int64)
    }

    static let meanings: [String: Meaning] = [
        "80000000": .accepted,
        // Some of several tokens are invalid. With one token it must be that token, but HMS does not say why.
        "80100000": .rejected,
        // A fault of Beckon: a parameter, the number of tokens, the structure, the time to live, …
        "80100001": .rejected,
        "80100002": .rejected,
        "80100003": .rejected,
        "80100004": .rejected,
        "80100013": .rejected,
        "80100016": .rejected,
        "80100017": .rejected,
        // The signature over the message body is wrong; Beckon sends none.
        "80100018": .rejected,
        "80200001": .reauthorize,
        "80200003": .reauthorize,
        // The app may not send, or may not send to this token: a fault in the app's configuration.
        "80300002": .credentialFault,
        // The token does not belong to this app. The cause can be the token, or a secret of another app.
        "80300007": .rejected,
        "80300008": .rejected,
        "80300010": .rejected,
        // The app has no right to send with high priority.
        "80300011": .rejected,
        "80300028": .rejected,
        "80300029": .rejected,
        // HMS could not reach its own OAuth service.
        "80600003": .unavailable(ms: 5000),
        "81000001": .unavailable(ms: 10_000),
    ]

    static func verdict(status: Int, body: [UInt8], retryAfter: [UInt8], nowMs: Int64) -> Verdict {
        let (code, requestID) = parse(body)
        let reason = code ?? "HTTP \(status)"
        let wait = RetryAfter.milliseconds(retryAfter, nowMs: nowMs)
        var verdict: Verdict
        switch code.flatMap({ meanings[$0] }) ?? meaning(of: status, hasCode: code != nil) {
        case .accepted where status == 200: verdict = Verdict(disposition: .accepted, reason: "")
        case .accepted:
            // This is not an answer of HMS alone, for example because a gateway has put a page around it, so it does
            // not say that HMS accepted the message.
            verdict = Verdict(
                disposition: .unknown, reason: "HTTP \(status) with \(reason)", health: .failure(retryAfterMs: 0))
        case .rejected: verdict = Verdict(disposition: .rejected, reason: reason)
        case .credentialFault:
            verdict = Verdict(disposition: .credentialFault, reason: reason, health: .credentialFault)
        case .reauthorize:
            verdict = Verdict(
                disposition: .credentialFault, reason: reason, shouldReauthorize: true, health: .credentialFault)
        case .unavailable(let ms):
            verdict = .deferred(reason, afterMs: wait ?? ms, .failure(retryAfterMs: wait ?? 0))
            // HMS limits the rate.
            if status == 429 { verdict.health = .pause(ms: wait ?? ms) }
        }
        verdict.providerMessageID = requestID
        return verdict
    }

    /// The meaning of an unknown code, or of an answer without a code. A 200 without the code for success is not a
    /// success.
    private static func meaning(of status: Int, hasCode: Bool) -> Meaning {
        switch status {
        case 401: .reauthorize
        case 403: .credentialFault
        case 429: .unavailable(ms: 60_000)
        case 503: .unavailable(ms: 10_000)
        case 500...: .unavailable(ms: 10_000)
        case 200..<300 where !hasCode: .unavailable(ms: 10_000)
        default: .rejected
        }
    }

    private static func parse(_ body: [UInt8]) -> (code: String?, requestID: String) {
        guard !body.isEmpty, let object = try? JSONSerialization.jsonObject(with: Data(body)) as? [String: Any] else {
            return (nil, "")
        }
        let code = object["code"] as? String ?? (object["code"] as? NSNumber)?.stringValue
        let id = object["requestId"] as? String ?? ""
        return (code.flatMap { (1...16).contains($0.utf8.count) ? $0 : nil }, id.utf8.count <= 128 ? id : "")
    }
}
