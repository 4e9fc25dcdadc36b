import ChallengeModel
import Wire

/// The numbers of the errors that we answer with. `docs/errors.md` lists them; a test compares the two.
enum APICode: Int, CaseIterable, Sendable {
    case authentication = 20003
    case methodNotAllowed = 20004
    case accessDenied = 20006
    case accessTokenMalformed = 20101
    case deviceUnknown = 20151
    case deviceHeader = 20152
    case deviceSubject = 20153
    case deviceClaims = 20154
    case deviceNotYetValid = 20155
    case deviceExpired = 20156
    case deviceLifeTooLong = 20157
    case deviceSignature = 20159
    case invalidToken = 20160
    case malformed = 20400
    case forbidden = 20403
    case notFound = 20404
    case requestTimeout = 20408
    case tooLarge = 20413
    case mediaType = 20415
    case idempotencyKeyUsed = 20422
    case tooManyRequests = 20429
    case headersTooLarge = 20431
    case internalError = 20500
    case unavailable = 20503
    case invalidParameter = 60200
    case entityExists = 60301
    case accessTokenParameters = 60305
    case noPushPlatform = 60307
    case challengeAttempts = 60308
    case notificationLimit = 60309
    case factorAttempts = 60310
    case factorVerificationFailed = 60311
    case challengeCreations = 60312
    case factorCreationRefused = 60313
    case publicKeyInvalid = 60314
    case factorLimit = 60315
    case factorExists = 60317
    case factorUnverified = 60318
    case alreadyResponded = 60322
    case alreadyExpired = 60323
    case answerRefused = 60324
    case factorCreations = 60326
    case entityCreations = 60328
    case pageSize = 60373
    case pageToken = 60374

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

/// What a caller is told. Never holds a secret, a token or an identity.
struct APIError: Error, Equatable {
    let code: APICode
    let message: String
    var headers: [String: String] = [:]

    init(_ code: APICode, _ message: String, headers: [String: String] = [:]) {
        self.code = code
        // It may quote a name that a caller wrote.
        self.message =
            PlainText.refused(in: message, .line) == nil
            ? message
            : String(
                String.UnicodeScalarView(
                    message.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{FFFD}" : $0 }))
        self.headers = headers
    }

    init(_ violation: RuleViolation) {
        self.init(violation.code, "Invalid parameter: \(violation)")
    }

    static let notFound = APIError(.notFound, "The requested resource was not found")

    var body: JSONValue {
        .object([
            ("code", .integer(Int64(code.rawValue))), ("message", .string(message)),
            ("more_info", .string(code.moreInfo)), ("status", .integer(Int64(code.httpStatus))),
        ])
    }
}
