import Foundation
import Wire

/// Judges the answer of a token endpoint. A pure value. Source: RFC 6749, sections 5.1 and 5.2; Google and Huawei
/// answer in this form.
enum AccessTokenAnswer: Equatable {
    case granted(token: String, lifeMs: Int64)
    /// The endpoint refuses the key or the account. The text is its `error` (`invalid_grant`), a colon and its
    /// `error_description`.
    case refused(String)
    /// The endpoint fails, or its answer is unusable. `retryAfterMs` is the wait that it asked for.
    case unavailable(String, retryAfterMs: Int64?)

    /// Of an `error` and of a description.
    private static let longestWord = 64
    private static let longestDescription = 200
    static let longestBody = 65_536

    init(status: Int, body: [UInt8], retryAfter: [UInt8], nowMs: Int64) {
        let object = (try? JSONSerialization.jsonObject(with: Data(body))) as? [String: Any] ?? [:]
        if status == 200, let token = object["access_token"] as? String, Self.isSound(token) {
            let seconds = (object["expires_in"] as? NSNumber)?.doubleValue ?? 3600
            self = .granted(token: token, lifeMs: Int64(min(max(seconds.isNaN ? 1 : seconds, 1), 86_400)) * 1000)
            return
        }
        let word = (object["error"] as? String ?? (object["error"] as? NSNumber)?.stringValue)
            .flatMap { Self.line($0, atMost: Self.longestWord) }
        let description = (object["error_description"] as? String)
            .flatMap { Self.line($0, atMost: Self.longestDescription) }
        let what = [word ?? "HTTP \(status)", description].compactMap { $0 }.joined(separator: ": ")
        // 400 invalid_grant and 401 invalid_client are faults of the key or the account. 5xx and 429 are faults of the
        // endpoint.
        if (400..<500).contains(status), status != 429, status != 408 {
            self = .refused(what)
        } else {
            self = .unavailable(
                status == 200 ? "HTTP 200 without an access_token that can be used" : what,
                retryAfterMs: RetryAfter.milliseconds(retryAfter, nowMs: nowMs))
        }
    }

    /// Whether the token may be put into a header.
    private static func isSound(_ token: String) -> Bool {
        !token.isEmpty && token.utf8.count <= 4096 && token.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    /// The part of an external text that is shown: one line without control characters. Nil when nothing remains.
    private static func line(_ text: String, atMost most: Int) -> String? {
        let scalars = text.unicodeScalars.prefix(most).map { scalar -> Unicode.Scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate, .unassigned: " "
            default: scalar
            }
        }
        let line = String(String.UnicodeScalarView(scalars)).trimmingCharacters(in: .whitespaces)
        return line.isEmpty ? nil : line
    }
}
