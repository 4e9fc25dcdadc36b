import ChallengeModel

/// The debugger's code for a push that failed (verify-api.md, 4.4).
enum PushErrorCode {
    static func code(platform: Platform, disposition: Disposition, status: UInt32, reason: String) -> Int64 {
        switch platform {
        case .apn: apns(disposition, status, reason)
        case .fcm: fcm(disposition, status, reason)
        case .noPush: 52301
        case .hms, .webpush, .unspecified, .UNRECOGNIZED: disposition == .tokenDead ? 52001 : 52000
        }
    }

    private static func apns(_ disposition: Disposition, _ status: UInt32, _ reason: String) -> Int64 {
        switch reason {
        case "BadDeviceToken": 52134
        case "MissingDeviceToken": 52133
        case "Unregistered", "ExpiredToken": 52141
        case "DeviceTokenNotForTopic": 52142
        case "BadTopic", "MissingTopic", "TopicDisallowed", "InvalidPushType": 52143
        case "PayloadTooLarge": 52138
        case "BadCertificate", "BadCertificateEnvironment": 52131
        case "InvalidProviderToken": 52147
        case "ExpiredProviderToken": 52148
        case "MissingProviderToken", "TooManyProviderTokenUpdates": 52149
        case "Forbidden", "UnrelatedKeyIdInToken", "BadEnvironmentKeyIdInToken": 52145
        case "InternalServerError", "ServiceUnavailable", "Shutdown": 52144
        default: fallback(disposition, status, dead: 52141, refused: 52145, unknown: 52140)
        }
    }

    private static func fcm(_ disposition: Disposition, _ status: UInt32, _ reason: String) -> Int64 {
        switch reason {
        case "UNREGISTERED": 52103
        case "INVALID_ARGUMENT": 52102
        case "SENDER_ID_MISMATCH": 52104
        case "THIRD_PARTY_AUTH_ERROR", "UNAUTHENTICATED", "PERMISSION_DENIED": 52109
        case "QUOTA_EXCEEDED": 52108
        case "UNAVAILABLE", "INTERNAL": 52110
        default: fallback(disposition, status, dead: 52103, refused: 52109, unknown: 52111)
        }
    }

    private static func fallback(
        _ disposition: Disposition, _ status: UInt32, dead: Int64, refused: Int64, unknown: Int64
    ) -> Int64 {
        if disposition == .tokenDead { return dead }
        // No answer and a faulty credential: there was nothing to present.
        if disposition == .credentialFault { return status == 0 ? 52004 : refused }
        return status == 413 ? (unknown == 52140 ? 52138 : 52106) : unknown
    }
}
