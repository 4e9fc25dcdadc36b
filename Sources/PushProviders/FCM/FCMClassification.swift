import ChallengeModel
import Foundation
import Wire

/// Classifies the answers of FCM. Source: Firebase, "ErrorCode" of the HTTP v1 API and "Scale with FCM".
enum FCMClassification {
    enum Meaning: Equatable {
        case rejected
        case tokenDead
        case credentialFault
        /// FCM refuses the access token: fetch a new token once. A second refusal is a credential fault.
        case reauthorize
        /// The project's quota is used up: wait for `Retry-After`, or 60 s without it.
        case quota
        /// FCM is unavailable: wait for `Retry-After`, and for at least 10 s.
        case unavailable
    }

    /// FCM's error codes, and the `status` values of Google's APIs for answers without a code.
    /// `SENDER_ID_MISMATCH` means a token of another project or a wrong service account, so neither the token nor the
    /// credential is marked as dead. `NOT_FOUND` without `UNREGISTERED` is about the path, not about the token.
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
        // The API is not enabled in the project: `reason` of Google's ErrorInfo beside PERMISSION_DENIED.
        "SERVICE_DISABLED": .credentialFault,
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
            // This is not an answer of FCM (a gateway's page, a 204), or only a part of one, so it does not say that
            // FCM accepted the message.
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

    /// `errorCode` of the FcmError in `error.details`, or else `error.status`.
    private static func errorCode(in body: [UInt8]) -> String? {
        guard !body.isEmpty, let object = try? JSONSerialization.jsonObject(with: Data(body)) as? [String: Any],
            let error = object["error"] as? [String: Any]
        else { return nil }
        let details = error["details"] as? [[String: Any]] ?? []
        let word =
            details.lazy.compactMap { $0["errorCode"] as? String }.first
            ?? details.lazy.compactMap { $0["reason"] as? String }.first { meanings[$0] != nil }
            ?? error["status"] as? String
        return word.flatMap { $0.utf8.count <= 64 ? $0 : nil }
    }

    /// The name in `{"name":"projects/…/messages/…"}`; empty when it is missing.
    static func messageName(in body: [UInt8]) -> String {
        let name = firstName(in: body)
        guard name.isEmpty, !body.isEmpty else { return name }
        let object = (try? JSONSerialization.jsonObject(with: Data(body))) as? [String: Any]
        return (object?["name"] as? String).flatMap { $0.utf8.count <= 512 ? $0 : nil } ?? ""
    }

    /// Reads the name without a JSON parser when it is the first member and has no escapes, because this runs for every
    /// accepted push.
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
