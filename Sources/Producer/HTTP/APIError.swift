import ChallengeModel
import Challenges
import Wire

extension ProblemCode {
    var httpStatus: Int {
        switch self {
        case .authentication, .accessTokenMalformed, .deviceUnknown, .deviceHeader, .deviceSubject, .deviceClaims,
            .deviceNotYetValid, .deviceExpired, .deviceLifeTooLong, .deviceSignature, .invalidToken:
            401
        case .accessDenied, .forbidden, .factorVerificationFailed, .factorCreationRefused, .factorUnverified,
            .alreadyResponded,
            .alreadyExpired, .answerRefused:
            403
        case .notFound: 404
        case .methodNotAllowed: 405
        case .requestTimeout: 408
        case .entityExists, .factorExists: 409
        case .tooLarge: 413
        case .mediaType: 415
        case .idempotencyKeyUsed: 422
        case .tooManyRequests, .challengeAttempts, .notificationLimit, .factorAttempts, .challengeCreations,
            .factorCreations, .entityCreations:
            429
        case .headersTooLarge: 431
        case .internalError: 500
        case .unavailable: 503
        case .malformed, .invalidParameter, .accessTokenParameters, .noPushPlatform, .publicKeyInvalid, .factorLimit,
            .pageSize,
            .pageToken:
            400
        }
    }

    var moreInfo: String { "https://www.twilio.com/docs/errors/\(rawValue)" }
}

/// An error for the caller. It never contains a secret, a token or an identity.
struct APIError: Error, Equatable {
    let code: ProblemCode
    let message: String
    var headers: [String: String] = [:]

    init(_ code: ProblemCode, _ message: String, headers: [String: String] = [:]) {
        self.code = code
        // The message may contain a name from the caller.
        self.message =
            PlainText.refused(in: message, .line) == nil
            ? message
            : String(
                String.UnicodeScalarView(
                    message.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{FFFD}" : $0 }))
        self.headers = headers
    }

    /// The HTTP form of a problem.
    init(_ problem: Problem) {
        var headers = problem.allowance?.headers ?? [:]
        if let seconds = problem.retryAfterSeconds { headers["Retry-After"] = String(seconds) }
        self.init(problem.code, problem.message, headers: headers)
    }

    init(_ violation: RuleViolation) { self.init(Problem(violation)) }

    init(_ error: StoreError) { self.init(Problem(error)) }

    static let notFound = APIError(.notFound, Problem.notFound)

    var body: JSONValue {
        .object([
            ("code", .integer(Int64(code.rawValue))), ("message", .string(message)),
            ("more_info", .string(code.moreInfo)), ("status", .integer(Int64(code.httpStatus))),
        ])
    }
}
