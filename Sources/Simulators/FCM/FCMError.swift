import DeviceKit
import Wire

/// A refusal of FCM's v1 API: Google's error body with the detail `FcmError`.
struct FCMError: Error, Sendable, Hashable {
    var status: Int
    /// Google's canonical word beside the status.
    var canonical: String
    /// `FcmError.errorCode`; nil: the refusal comes from before FCM (authentication).
    var code: String?
    var message: String
    /// `reason` of Google's ErrorInfo; nil: there is none.
    var info: String?

    static func invalidArgument(_ message: String) -> FCMError {
        FCMError(status: 400, canonical: "INVALID_ARGUMENT", code: "INVALID_ARGUMENT", message: message)
    }
    static let unregistered = FCMError(
        status: 404, canonical: "NOT_FOUND", code: "UNREGISTERED", message: "Requested entity was not found.")
    static let senderIDMismatch = FCMError(
        status: 403, canonical: "PERMISSION_DENIED", code: "SENDER_ID_MISMATCH", message: "SenderId mismatch")
    static let quotaExceeded = FCMError(
        status: 429, canonical: "RESOURCE_EXHAUSTED", code: "QUOTA_EXCEEDED", message: "Quota exceeded.")
    static let unavailable = FCMError(
        status: 503, canonical: "UNAVAILABLE", code: "UNAVAILABLE", message: "The service is currently unavailable.")
    static let `internal` = FCMError(
        status: 500, canonical: "INTERNAL", code: "INTERNAL", message: "Internal error encountered.")
    static let thirdPartyAuth = FCMError(
        status: 401, canonical: "UNAUTHENTICATED", code: "THIRD_PARTY_AUTH_ERROR",
        message: "Auth error from APNS or Web Push Service")
    static let unauthenticated = FCMError(
        status: 401, canonical: "UNAUTHENTICATED", code: nil,
        message: "Request had invalid authentication credentials. Expected OAuth 2 access token.")
    static let otherProject = FCMError(
        status: 403, canonical: "PERMISSION_DENIED", code: nil,
        message: "Permission 'cloudmessaging.messages.create' denied on resource.")
    /// The project has not enabled the API.
    static let apiDisabled = FCMError(
        status: 403, canonical: "PERMISSION_DENIED", code: nil,
        message: "Firebase Cloud Messaging API has not been used in this project before or it is disabled.",
        info: "SERVICE_DISABLED")
    static let notFound = FCMError(
        status: 404, canonical: "NOT_FOUND", code: nil, message: "The requested URL was not found on this server.")

    /// The refusal that a fault names; ``internal`` for an unknown word.
    static func named(_ word: String) -> FCMError {
        switch word {
        case "UNREGISTERED": .unregistered
        case "SENDER_ID_MISMATCH": .senderIDMismatch
        case "QUOTA_EXCEEDED": .quotaExceeded
        case "UNAVAILABLE": .unavailable
        case "THIRD_PARTY_AUTH_ERROR": .thirdPartyAuth
        case "UNAUTHENTICATED": .unauthenticated
        case "PERMISSION_DENIED": .otherProject
        case "SERVICE_DISABLED": .apiDisabled
        case "INVALID_ARGUMENT": .invalidArgument("Request contains an invalid argument.")
        default: .internal
        }
    }

    /// The word for logs and counters.
    var reason: String { code ?? canonical }

    var body: [UInt8] {
        var error = JSONValue.object([
            ("code", .integer(Int64(status))), ("message", .string(message)), ("status", .string(canonical)),
        ])
        if let code {
            let type = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
            error = error.adding(
                "details", .array([.object([("@type", .string(type)), ("errorCode", .string(code))])]))
        }
        if let info {
            let type = "type.googleapis.com/google.rpc.ErrorInfo"
            error = error.adding("details", .array([.object([("@type", .string(type)), ("reason", .string(info))])]))
        }
        return JSONValue.object([("error", error)]).bytes
    }
}
