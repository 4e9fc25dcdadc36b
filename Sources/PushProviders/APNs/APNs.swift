import ChallengeModel

/// Apple Push Notification service.
struct APNs: PushProvider {
    let platform = Platform.apn
    let word = "apn"
    let endpoints: [ProviderEndpoint] = [.apns, .apnsSandbox]
    let traits = ProviderTraits(takesBackgroundPushes: true)

    /// Expects pairs of hexadecimal digits and returns them in lower case.
    func pushToken(_ text: String) throws(ParameterFault) -> String {
        guard text.utf8.count % 2 == 0, text.utf8.allSatisfy({ APNsRequest.isHexDigit($0) }) else {
            throw ParameterFault("Config.NotificationToken", "the APNs device token as hexadecimal digits")
        }
        return text.lowercased()
    }

    func readCredential(
        _ parameters: inout some CredentialParameters
    ) throws(ParameterFault) -> ProviderCredential.OneOf_Secret {
        try APNsCredentialRules.read(&parameters)
    }

    func open(_ secret: ProviderCredential.OneOf_Secret) throws -> (any OpenCredential)? {
        switch secret {
        case .apnsToken(let key): APNsCredential(proof: .signed(try ProviderToken(key)), isSandbox: key.sandbox)
        case .apnsCertificate(let certificate):
            APNsCredential(
                proof: .clientCertificate(
                    certificatePEM: certificate.certificatePem, keyPEM: certificate.privateKeyPem),
                isSandbox: certificate.sandbox)
        default: nil
        }
    }

    func isTokenUnknown(_ reason: String) -> Bool { reason == "BadDeviceToken" || reason == "DeviceTokenNotForTopic" }

    func errorCode(of failure: PushFailure) -> UInt32 {
        switch failure.reason {
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
        default: failure.code(dead: 52141, credential: 52145, tooLarge: 52138, other: 52140)
        }
    }
}

extension ProviderEndpoint {
    public static let apns = ProviderEndpoint(
        setting: "apns.url", url: "https://api.push.apple.com:443", summary: "APNs, production.")
    public static let apnsSandbox = ProviderEndpoint(
        setting: "apns.sandboxUrl", url: "https://api.sandbox.push.apple.com:443", summary: "APNs, sandbox.")
}

/// A token key or a certificate of an Apple team.
struct APNsCredential: OpenCredential {
    let platform = Platform.apn
    let ways: [ProviderEndpoint] = [.apns, .apnsSandbox]
    let proof: CredentialProof
    let isSandbox: Bool

    init(proof: CredentialProof, isSandbox: Bool) {
        self.proof = proof
        self.isSandbox = isSandbox
    }

    /// A client certificate authenticates the connection in the handshake, so streams need not wait for a first answer.
    var startsWithOneStream: Bool {
        if case .clientCertificate = proof { false } else { true }
    }

    func way(of push: Push) -> Int {
        switch push.environment {
        case .production: 0
        case .sandbox: 1
        case .environmentUnspecified, .UNRECOGNIZED: isSandbox ? 1 : 0
        }
    }

    func write(_ push: Push, nowMs: Int64, to request: PushRequest) throws(UnfitPush) {
        try APNsRequest.write(push, to: request)
    }

    func verdict(on answer: ProviderAnswer) -> Verdict {
        let hasID = (1...64).contains(answer.id.count)
        return APNsClassification.verdict(
            status: answer.status, body: answer.body, retryAfter: answer.retryAfter,
            messageID: hasID ? String(decoding: answer.id, as: UTF8.self) : answer.pushID,
            registeredAtMs: answer.registeredAtMs, nowMs: answer.nowMs)
    }
}
