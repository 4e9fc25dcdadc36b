import ChallengeModel
import Foundation

/// What FCM answers mean. Source: Firebase, "ErrorCode" of the HTTP v1 API and "Scale with FCM".
enum FCMClassification {
    enum Meaning: Equatable {
        case rejected
        case tokenDead
        case credentialFault
        /// The access token is not taken: another one, once; then a credential fault.
        case reauthorize
        /// The project's quota: `Retry-After`, else 60 s.
        case quota
        /// FCM as a whole: `Retry-After`, and at least 10 s.
        case unavailable
    }

    /// FCM's error codes, and the `status` words of Google's APIs where no code comes along.
    ///
    /// `SENDER_ID_MISMATCH` is one token of another project, or a wrong service account: it kills neither. `NOT_FOUND` without
    /// `UNREGISTERED` beside it speaks of the path, not of the token.
    static let meanings: [String: Meaning] = [
        "UNSPECIFIED_ERROR": .rejected,
        "INVALID_ARGUMENT": .rejected,
        "UNREGISTERED": .tokenDead,
        "SENDER_ID_MISMATCH": .rejected,
        "QUOTA_EXCEEDED": .quota,
        "UNAVAILABLE": .unavailable,
        "INTERNAL": .unavailable,
        "THIRD_PARTY_AUTH_ERROR": .credentialFault,
        "RESOURCE_EXHAUSTED": .quota,
        "PERMISSION_DENIED": .credentialFault,
        "UNAUTHENTICATED": .reauthorize,
        "NOT_FOUND": .rejected,
        "FAILED_PRECONDITION": .rejected,
        "DEADLINE_EXCEEDED": .unavailable,
    ]

    static let quotaRetryMs: Int64 = 60_000
    static let unavailableRetryMs: Int64 = 10_000

    static func verdict(status: Int, body: [UInt8], retryAfter: [UInt8], nowMs: Int64) -> Verdict {
        if (200..<300).contains(status) {
            let name = messageName(in: body)
            if status == 200, name.hasPrefix("projects/") {
                return Verdict(disposition: .accepted, reason: "", providerMessageID: name)
            }
            // Not FCM's answer (a gateway's page, 204), or half of one: nobody has said that it took the message.
            return Verdict(
                disposition: .unknown, reason: "HTTP \(status) without a message name",
                health: .failure(retryAfterMs: 0))
        }
        let word = errorCode(in: body)
        let reason = word ?? "HTTP \(status)"
        let wait = RetryAfter.milliseconds(retryAfter, nowMs: nowMs)
        switch word.flatMap({ meanings[$0] }) ?? meaning(of: status) {
        case .rejected: return Verdict(disposition: .rejected, reason: reason)
        case .tokenDead: return Verdict(disposition: .tokenDead, reason: reason)
        case .credentialFault:
            return Verdict(disposition: .credentialFault, reason: reason, health: .credentialFault)
        case .reauthorize:
            return Verdict(
                disposition: .credentialFault, reason: reason, shouldReauthorize: true, health: .credentialFault)
        case .quota:
            let ms = wait ?? quotaRetryMs
            return .deferred(reason, afterMs: ms, .pause(ms: ms))
        case .unavailable:
            let ms = max(wait ?? 0, unavailableRetryMs)
            return .deferred(reason, afterMs: ms, .failure(retryAfterMs: wait ?? 0))
        }
    }

    private static func meaning(of status: Int) -> Meaning {
        switch status {
        case 401: .reauthorize
        case 403: .credentialFault
        case 408: .unavailable
        case 429: .quota
        case 500...: .unavailable
        default: .rejected
        }
    }

    /// `errorCode` of the FcmError in `error.details`, else `error.status`.
    private static func errorCode(in body: [UInt8]) -> String? {
        guard !body.isEmpty, let object = try? JSONSerialization.jsonObject(with: Data(body)) as? [String: Any],
            let error = object["error"] as? [String: Any]
        else { return nil }
        let details = error["details"] as? [[String: Any]] ?? []
        let word = details.lazy.compactMap { $0["errorCode"] as? String }.first ?? error["status"] as? String
        return word.flatMap { $0.utf8.count <= 64 ? $0 : nil }
    }

    /// `{"name":"projects/…/messages/…"}`; empty when there is none.
    static func messageName(in body: [UInt8]) -> String {
        let name = firstName(in: body)
        guard name.isEmpty, !body.isEmpty else { return name }
        let object = (try? JSONSerialization.jsonObject(with: Data(body))) as? [String: Any]
        return (object?["name"] as? String).flatMap { $0.utf8.count <= 512 ? $0 : nil } ?? ""
    }

    /// Read by hand, where it stands first and is plain: this is the way of every accepted push.
    private static func firstName(in body: [UInt8]) -> String {
        var rest = body[...]
        func skipSpace() { rest = rest.drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 } }
        func take(_ text: StaticString) -> Bool {
            skipSpace()
            let bytes = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
            guard rest.starts(with: bytes) else { return false }
            rest = rest.dropFirst(bytes.count)
            return true
        }
        guard take("{"), take("\"name\""), take(":"), take("\"") else { return "" }
        let value = rest.prefix { $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }
        guard value.endIndex < rest.endIndex, rest[value.endIndex] == UInt8(ascii: "\""), value.count <= 512 else {
            return ""
        }
        return String(decoding: value, as: UTF8.self)
    }
}
