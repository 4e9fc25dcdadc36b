import ChallengeModel
import PushGateway
import PushProviders
import ServiceSupport
import Wire

extension Doctor {
    static let providerChecks = [apnsCheck, fcmCheck, hmsCheck, webPushCheck]

    /// - Parameter mistake: which one the answer of a probe shows; nil: none.
    private static func providerCheck(
        _ id: String, _ title: String, _ platform: Platform, _ mistakes: [Mistake],
        mistake: @escaping @Sendable (CredentialProbe, _ nowMs: Int64) -> Mistake?
    ) -> Check {
        Check(id, title, roles: [.dispatcher], looks: [.probes], mistakes: mistakes) { facts in
            switch facts.probes {
            case .not(let because): return .skipped(because)
            case .seen(let all):
                let probes = all.filter { $0.platform == platform }
                guard !probes.isEmpty else { return .skipped("no credential of this provider") }
                let findings = probes.compactMap { probe in
                    mistake(probe, facts.nowMs).map { $0.found(said(probe), ["credential": probe.sid]) }
                }
                return .judged(findings, else: probes.count == 1 ? "1 credential" : "\(probes.count) credentials")
            }
        }
    }

    private static func said(_ probe: CredentialProbe) -> String {
        var parts = [probe.sid + ":"]
        if let fault = probe.fault { parts.append(fault) }
        if let end = probe.expiresAtMs { parts.append("its certificate ends on \(Timestamp.rfc3339Seconds(end));") }
        if let answer = probe.answer {
            if answer.status > 0 { parts.append("HTTP \(answer.status)") }
            parts.append(answer.reason.isEmpty ? "\(answer.disposition)" : answer.reason)
        }
        return parts.joined(separator: " ")
    }

    private static func unanswered(_ provider: String) -> Mistake {
        Mistake(
            "no-answer", .unreachable, sees: "the probe got no answer, or the provider is not available",
            means: "nothing is known of the credential <credential>; pushes with it wait",
            mend: "see the check egress; is \(provider) up?")
    }

    /// No answer of the provider about the credential.
    private static func isUnanswered(_ answer: PushAnswer) -> Bool {
        switch answer.disposition {
        case .deferred, .unknown, .dropped: true
        default: false
        }
    }

    private static let badKey = Mistake(
        "key-unusable", .failure, sees: "the stored key cannot be used",
        means: "every push with the credential <credential> fails before it is sent",
        mend: "create the credential again with the file as the provider gives it, and name it in the service")

    // MARK: 23

    private static let apnsKey = Mistake(
        "apns-key", .failure, sees: "403 `InvalidProviderToken`",
        means: "the key is revoked, or key id, team id and key do not belong together",
        mend:
            "compare key id and team id with developer.apple.com, Certificates, Identifiers & Profiles, Keys; create the credential <credential> again with a key that is active"
    )
    private static let apnsClock = Mistake(
        "apns-token-expired", .failure, sees: "403 `ExpiredProviderToken` for a fresh token",
        means: "Apple takes the time in the token for too old: the clock of this machine is wrong",
        mend: "timedatectl set-ntp true; see the check clock")
    private static let apnsTopic = Mistake(
        "apns-topic", .failure, sees: "`TopicDisallowed` or `BadTopic`",
        means: "the key may not push to the bundle id of the registered devices",
        mend:
            "register devices with the bundle id of the app (AppId of the factor), or use a key of its team without a restriction to other topics: developer.apple.com, Keys"
    )
    private static let apnsEnvironment = Mistake(
        "apns-environment", .failure, sees: "`BadEnvironmentKeyIdInToken`, or `BadCertificateEnvironment`",
        means: "the key or certificate is for the other environment (sandbox or production)",
        mend:
            "create the credential <credential> again with the right value of Sandbox, or with a key for both environments"
    )
    private static let apnsCertificate = Mistake(
        "apns-certificate", .failure,
        sees: "the client certificate has expired, or Apple refuses it (`BadCertificate`)",
        means: "Apple takes no push from the credential <credential>",
        mend:
            "renew the certificate at developer.apple.com, Certificates, or change to a token key, which does not expire"
    )
    private static let apnsSoon = Mistake(
        "apns-certificate-soon", .warning, sees: "the client certificate ends in less than 14 days",
        means: "pushes with the credential <credential> will fail then",
        mend:
            "renew the certificate at developer.apple.com, Certificates, or change to a token key, which does not expire"
    )
    private static let apnsOther = Mistake(
        "apns-refused", .failure, sees: "another refusal of the credential",
        means: "APNs refuses the credential <credential>",
        mend: "look up the reason in Apple's \"Handling notification responses from APNs\"")
    private static let apnsAway = unanswered("APNs")

    static let apnsCheck = providerCheck(
        "apns", "APNs accepts each key, team and topic", .apn,
        [badKey, apnsKey, apnsClock, apnsTopic, apnsEnvironment, apnsCertificate, apnsSoon, apnsOther, apnsAway]
    ) { probe, nowMs in
        if let end = probe.expiresAtMs, end <= nowMs { return apnsCertificate }
        guard probe.fault == nil, let answer = probe.answer else { return badKey }
        switch answer.reason {
        // Key, team and topic are good: only the device does not exist.
        case "BadDeviceToken", "Unregistered", "ExpiredToken", "DeviceTokenNotForTopic", "": break
        // The probe named an app that does not exist, after the key had been accepted.
        case "TopicDisallowed" where !probe.hasKnownApp, "BadTopic" where !probe.hasKnownApp: break
        case "bad-key": return badKey
        case "InvalidProviderToken", "UnrelatedKeyIdInToken", "MissingProviderToken": return apnsKey
        case "ExpiredProviderToken": return apnsClock
        case "TopicDisallowed", "BadTopic", "MissingTopic": return apnsTopic
        case "BadEnvironmentKeyIdInToken", "BadCertificateEnvironment": return apnsEnvironment
        case "BadCertificate": return apnsCertificate
        case _ where isUnanswered(answer): return apnsAway
        default: if answer.disposition == .credentialFault { return apnsOther }
        }
        if let end = probe.expiresAtMs, end - nowMs < 14 * 86_400_000 { return apnsSoon }
        return nil
    }

    // MARK: 24

    private static let fcmDisabled = Mistake(
        "fcm-api-disabled", .failure, sees: "403 `SERVICE_DISABLED`",
        means: "the Firebase Cloud Messaging API is not enabled in the project of <credential>",
        mend: "gcloud services enable fcm.googleapis.com --project PROJECT")
    private static let fcmRole = Mistake(
        "fcm-permission", .failure, sees: "403 `PERMISSION_DENIED`",
        means: "the service account has no right to send for the project, or belongs to another one",
        mend:
            "gcloud projects add-iam-policy-binding PROJECT --member serviceAccount:EMAIL --role roles/firebasecloudmessaging.admin"
    )
    private static let fcmSender = Mistake(
        "fcm-sender", .failure, sees: "`SENDER_ID_MISMATCH`",
        means: "the registration tokens are of another Firebase project than the service account",
        mend: "create the credential again with a service account of the project in the app's google-services.json")
    private static let fcmAccount = Mistake(
        "fcm-account", .failure, sees: "the token endpoint refuses the assertion (`invalid_grant`), or FCM answers 401",
        means: "the key of the service account is deleted or of another account, or the clock is wrong",
        mend:
            "create a new key (console.cloud.google.com, IAM, Service Accounts, Keys) and the credential <credential> again with it; see the check clock"
    )
    private static let fcmOther = Mistake(
        "fcm-refused", .failure, sees: "another refusal of the credential",
        means: "FCM refuses the credential <credential>",
        mend: "look up the error in Firebase's \"ErrorCode\" of the HTTP v1 API")
    private static let fcmAway = unanswered("FCM")

    static let fcmCheck = providerCheck(
        "fcm", "FCM accepts each service account", .fcm,
        [badKey, fcmDisabled, fcmRole, fcmSender, fcmAccount, fcmOther, fcmAway]
    ) { probe, _ in
        guard probe.fault == nil, let answer = probe.answer else { return badKey }
        switch answer.reason {
        case "bad-key", "invalid_key": return badKey
        case "SERVICE_DISABLED": return fcmDisabled
        case "PERMISSION_DENIED": return fcmRole
        case "SENDER_ID_MISMATCH": return fcmSender
        case "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR": return fcmAccount
        case _ where isUnanswered(answer): return fcmAway
        case _ where answer.disposition == .credentialFault:
            // Without a status, the token endpoint has refused.
            return answer.status == 0 ? fcmAccount : fcmOther
        // INVALID_ARGUMENT and UNREGISTERED are about the token of the probe.
        default: return nil
        }
    }

    // MARK: 25

    private static let hmsSecret = Mistake(
        "hms-secret", .failure,
        sees: "the token endpoint refuses the app (`invalid client_secret`, `invalid client_id`)",
        means: "app id and app secret do not belong together",
        mend:
            "copy both from AppGallery Connect, Project settings, App information, and create the credential <credential> again"
    )
    private static let hmsToken = Mistake(
        "hms-access-token", .failure, sees: "`80200001` or `80200003`",
        means: "HMS does not accept the access token: hms.tokenUrl is the endpoint of another region or app",
        mend: "set hms.tokenUrl and hms.url to the endpoints of the app's region, and compare app id and secret")
    private static let hmsRight = Mistake(
        "hms-permission", .failure, sees: "`80300002`", means: "the app has no right to send",
        mend: "enable Push Kit: AppGallery Connect, Project settings, Manage APIs")
    private static let hmsOther = Mistake(
        "hms-refused", .failure, sees: "another refusal of the credential",
        means: "HMS refuses the credential <credential>",
        mend: "look up the code in Huawei's \"Sending Messages\", result codes")
    private static let hmsAway = unanswered("HMS")

    static let hmsCheck = providerCheck(
        "hms", "HMS accepts each app", .hms, [badKey, hmsSecret, hmsToken, hmsRight, hmsOther, hmsAway]
    ) { probe, _ in
        guard probe.fault == nil, let answer = probe.answer else { return badKey }
        switch answer.reason {
        case "bad-key", "invalid_key": return badKey
        case "80200001", "80200003": return hmsToken
        case "80300002": return hmsRight
        case _ where isUnanswered(answer): return hmsAway
        case _ where answer.disposition == .credentialFault: return answer.status == 0 ? hmsSecret : hmsOther
        // 80100000 and 80300007 are about the token of the probe.
        default: return nil
        }
    }

    // MARK: 26

    private static let webPushKey = Mistake(
        "vapid-key", .failure, sees: "the VAPID key pair does not match, or `sub` is neither mailto: nor https:",
        means: "push services refuse every push of the credential <credential>",
        mend:
            "create the credential again with both halves of one VAPID key pair and a contact; the page subscribes with its public key (applicationServerKey)"
    )
    private static let webPushAway = unanswered("the push service")

    static let webPushCheck = providerCheck(
        "web-push", "The VAPID keys of Web Push are usable", .webpush, [webPushKey, webPushAway]
    ) { probe, _ in
        // A subscription of its own names the push service: without one, only the key can be looked at.
        if probe.fault != nil || probe.answer?.reason == "bad-key" { return webPushKey }
        return nil
    }
}
