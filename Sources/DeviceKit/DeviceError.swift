/// A refusal by the server: the HTTP status and the body of the error.
public struct ServerRefusal: Sendable, Hashable, CustomStringConvertible {
    /// HTTP status.
    public var status: Int
    /// The API's error code (60322, 60324, …); 0 when the body contains none.
    public var code: Int
    /// The API's message, for developers of apps.
    public var message: String

    /// - Parameters:
    ///   - status: HTTP status.
    ///   - code: see ``code``.
    ///   - message: see ``message``.
    public init(status: Int, code: Int, message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    public var description: String { "\(status), code \(code): \(message)" }
}

/// The reason why a call of ``Device`` or ``DeviceClient`` failed. No case contains a token, a key or the contents of a
/// challenge.
public enum DeviceError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The server refused the request.
    case refused(ServerRefusal)
    /// No reply came. The text says what failed.
    case unreachable(String)
    /// No reply came within the deadline of ``DeviceClient``.
    case deadlineExceeded
    /// The reply does not have the form of the API. The text says what is wrong.
    case malformedReply(String)
    /// The challenge is addressed to another factor than this device's.
    case otherFactor
    /// The challenge was already answered or has expired. The value is its status.
    case notPending(ChallengeStatus)
    /// The server did not say which fields to sign.
    case missingSignatureFields
    /// An approval needs the number that the person sees where they sign in. The value is its number of digits.
    case numberRequired(digits: Int)
    /// An approval needs a session token: the person must sign in to the app.
    case sessionRequired
    /// The answer was sent, but the challenge has another status afterwards. The value is this status.
    case notApplied(ChallengeStatus)

    public var description: String {
        switch self {
        case .refused(let refusal): "refused: \(refusal)"
        case .unreachable(let reason): "no answer: \(reason)"
        case .deadlineExceeded: "no answer in time"
        case .malformedReply(let reason): "unexpected answer: \(reason)"
        case .otherFactor: "the challenge is addressed to another factor"
        case .notPending(let status): "the challenge is \(status.rawValue), not pending"
        case .missingSignatureFields: "the server did not say which fields to sign"
        case .numberRequired(let digits): "an approval needs the number of \(digits) digits that the person sees"
        case .sessionRequired: "an approval needs a session token: the person must sign in to the app"
        case .notApplied(let status): "the challenge reads \(status.rawValue) after the answer was sent"
        }
    }

    /// True when the same call may succeed later: no reply came, or the server sent 429 or 5xx.
    public var isTransient: Bool {
        switch self {
        case .unreachable, .deadlineExceeded: true
        case .refused(let refusal): refusal.status == 429 || refusal.status >= 500
        default: false
        }
    }
}
