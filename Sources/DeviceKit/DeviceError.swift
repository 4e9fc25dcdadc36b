/// The server's "no": status and the body that the API sends with it.
public struct ServerRefusal: Sendable, Hashable, CustomStringConvertible {
    /// HTTP status.
    public var status: Int
    /// The API's code (60322, 60324, …); 0 when the body named none.
    public var code: Int
    /// The API's words, made for people who build apps.
    public var message: String

    public init(status: Int, code: Int, message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    public var description: String { "\(status), code \(code): \(message)" }
}

/// Why a call of ``Device`` or ``DeviceClient`` failed. No case holds a token, a key or a challenge's contents.
public enum DeviceError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The server answered and refused.
    case refused(ServerRefusal)
    /// No answer came; the text says what failed.
    case unreachable(String)
    /// No answer came in the time that ``DeviceClient`` allows.
    case deadlineExceeded
    /// The answer was not what the API promises; the text says what was wrong.
    case malformedReply(String)
    /// The challenge is addressed to another factor than this device's.
    case otherFactor
    /// The challenge was answered or has expired; its status.
    case notPending(ChallengeStatus)
    /// The server did not say which fields to sign.
    case missingSignatureFields
    /// An approval needs the number that the person sees where they sign in, of so many digits.
    case numberRequired(digits: Int)
    /// An approval needs a session token: the person must sign in to the app.
    case sessionRequired
    /// The answer was sent, but the challenge reads otherwise afterwards; its status.
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

    /// True when the same call may succeed later without a change: no answer, or the server's 429 or 5xx.
    public var isTransient: Bool {
        switch self {
        case .unreachable, .deadlineExceeded: true
        case .refused(let refusal): refusal.status == 429 || refusal.status >= 500
        default: false
        }
    }
}
