import ChallengeModel
import Challenges
import Wire

/// The API's form of resources: every member is present, unset members are null, and times are in whole seconds with a
/// `Z`. Pure functions.
struct Representation: Sendable {
    /// `scheme://host:port`.
    let baseURL: String
    /// Whether push tokens are shown: only to the device itself and to role `full`. Others read null.
    var showsPushTokens = true

    private func time(_ epochMs: Int64) -> JSONValue { .string(Timestamp.rfc3339Seconds(epochMs)) }

    private func url(_ service: ServiceSID) -> String { "\(baseURL)/v2/Services/\(service)" }

    private func url(_ service: ServiceSID, _ identity: String) -> String {
        "\(url(service))/Entities/\(Percent.encode(identity))"
    }

    /// JSON text from the store; null when there is none.
    private func stored(_ text: String?) -> JSONValue {
        guard let text else { return .null }
        return (try? JSONParser.parse(text)) ?? .null
    }

    // MARK: - Services

    func service(_ service: Service) -> JSONValue {
        let settings = ServiceSettings(stored: service.settings)
        let url = url(service.sid)
        let value = JSONValue.object([
            ("sid", .string(service.sid.rawValue)), ("account_sid", .string(service.account.rawValue)),
            ("friendly_name", .string(service.friendlyName)),
            ("code_length", settings.value("CodeLength", unset: .integer(6))),
            ("lookup_enabled", settings.value("LookupEnabled", unset: .boolean(false))),
            ("psd2_enabled", settings.value("Psd2Enabled", unset: .boolean(false))),
            ("skip_sms_to_landlines", settings.value("SkipSmsToLandlines", unset: .boolean(false))),
            ("dtmf_input_required", settings.value("DtmfInputRequired", unset: .boolean(false))),
            ("tts_name", settings.value("TtsName")),
            (
                "do_not_share_warning_enabled",
                settings.value("DoNotShareWarningEnabled", unset: .boolean(false))
            ),
            ("custom_code_enabled", settings.value("CustomCodeEnabled", unset: .boolean(false))),
            (
                "push",
                .object([
                    ("include_date", .boolean(service.includeDate)),
                    ("apn_credential_sid", .optional(service.apnCredential?.rawValue)),
                    ("fcm_credential_sid", .optional(service.fcmCredential?.rawValue)),
                ])
            ),
            (
                "totp",
                .object([
                    ("issuer", settings.value("Totp.Issuer", unset: .string(service.friendlyName))),
                    ("time_step", settings.value("Totp.TimeStep", unset: .integer(30))),
                    ("code_length", settings.value("Totp.CodeLength", unset: .integer(6))),
                    ("skew", settings.value("Totp.Skew", unset: .integer(1))),
                ])
            ),
            ("default_template_sid", settings.value("DefaultTemplateSid")),
            (
                "whatsapp",
                .object([
                    ("msg_service_sid", settings.value("Whatsapp.MsgServiceSid")),
                    ("from", settings.value("Whatsapp.From")),
                ])
            ),
            ("passkeys", passkeys(settings)),
            (
                "verify_event_subscription_enabled",
                settings.value("VerifyEventSubscriptionEnabled", unset: .boolean(false))
            ),
            ("date_created", time(service.createdAtMs)), ("date_updated", time(service.updatedAtMs)),
            ("url", .string(url)),
            (
                "links",
                .object([
                    ("verification_checks", .string("\(url)/VerificationCheck")),
                    ("verifications", .string("\(url)/Verifications")),
                    ("rate_limits", .string("\(url)/RateLimits")),
                    ("messaging_configurations", .string("\(url)/MessagingConfigurations")),
                    ("entities", .string("\(url)/Entities")), ("webhooks", .string("\(url)/Webhooks")),
                    ("access_tokens", .string("\(url)/AccessTokens")),
                ])
            ),
        ])
        return BeckonObject.service(service).map { value.adding("beckon", $0) } ?? value
    }

    private func passkeys(_ settings: ServiceSettings) -> JSONValue {
        .object([
            (
                "relying_party",
                .object([
                    ("id", settings.value("Passkeys.RelyingParty.Id")),
                    ("name", settings.value("Passkeys.RelyingParty.Name")),
                    ("origins", settings.value("Passkeys.RelyingParty.Origins")),
                ])
            ),
            ("authenticator_attachment", settings.value("Passkeys.AuthenticatorAttachment")),
            ("discoverable_credentials", settings.value("Passkeys.DiscoverableCredentials")),
            ("user_verification", settings.value("Passkeys.UserVerification")),
        ])
    }

    // MARK: - Access tokens, entities, credentials

    /// - Parameter token: the text for the device, in the reply to the creation. Nil later, because the store keeps
    ///   only its hash.
    func accessToken(_ accessToken: AccessToken, token: String?) -> JSONValue {
        .object([
            ("sid", .string(accessToken.sid.rawValue)), ("account_sid", .string(accessToken.account.rawValue)),
            ("service_sid", .string(accessToken.service.rawValue)),
            ("entity_identity", .string(accessToken.identity)), ("factor_type", .string("push")),
            ("factor_friendly_name", .optional(accessToken.factorFriendlyName)), ("token", .optional(token)),
            ("url", .string("\(url(accessToken.service))/AccessTokens/\(accessToken.sid)")),
            ("ttl", .integer(Int64(accessToken.ttlSeconds))), ("date_created", time(accessToken.createdAtMs)),
        ])
    }

    func entity(_ entity: Entity) -> JSONValue {
        let url = url(entity.service, entity.identity)
        return .object([
            ("sid", .string(entity.sid.rawValue)), ("identity", .string(entity.identity)),
            ("account_sid", .string(entity.account.rawValue)), ("service_sid", .string(entity.service.rawValue)),
            ("date_created", time(entity.createdAtMs)), ("date_updated", time(entity.updatedAtMs)),
            ("url", .string(url)),
            (
                "links",
                .object([
                    ("factors", .string("\(url)/Factors")), ("new_factors", .string("\(url)/Factors")),
                    ("challenges", .string("\(url)/Challenges")),
                ])
            ),
        ])
    }

    func credential(_ credential: Credential) -> JSONValue {
        .object([
            ("sid", .string(credential.sid.rawValue)), ("account_sid", .string(credential.account.rawValue)),
            ("friendly_name", .string(credential.friendlyName)), ("type", .string(credential.type)),
            // The API has these two words, not a boolean.
            ("sandbox", .string(credential.sandbox ? "True" : "False")),
            ("date_created", time(credential.createdAtMs)), ("date_updated", time(credential.updatedAtMs)),
            ("url", .string("\(baseURL)/v1/Credentials/\(credential.sid)")),
        ])
    }

    // MARK: - Factors

    /// - Parameter isNew: true for the reply to the creation. Only this reply has binding and options.
    func factor(_ factor: Factor, isNew: Bool = false) -> JSONValue {
        var members: [(name: String, value: JSONValue)] = [
            ("sid", .string(factor.sid.rawValue)), ("account_sid", .string(factor.account.rawValue)),
            ("service_sid", .string(factor.service.rawValue)), ("entity_sid", .string(factor.entity.rawValue)),
            ("identity", .string(factor.identity)),
        ]
        if isNew {
            members.append(
                (
                    "binding",
                    .object([
                        ("alg", .string("ES256")), ("public_key", .string(Base64.encode(factor.publicKey))),
                    ])
                ))
            members.append(("options", .null))
        }
        var config: [(name: String, value: JSONValue)] = [
            ("sdk_version", .optional(factor.sdkVersion)), ("app_id", .string(factor.appID)),
            ("notification_platform", .string(FactorRules.name(of: factor.platform))),
            ("notification_token", .optional(showsPushTokens ? factor.pushToken : nil)),
            ("credential_sid", .string(factor.keyID.rawValue)),
        ]
        if let isEnabled = factor.notificationsEnabled { config.append(("notifications_enabled", .boolean(isEnabled))) }
        members += [
            ("date_created", time(factor.createdAtMs)), ("date_updated", time(factor.updatedAtMs)),
            ("friendly_name", .string(factor.friendlyName)),
            ("status", .string(factor.isVerified ? "verified" : "unverified")), ("factor_type", .string("push")),
            ("config", .object(config)), ("metadata", stored(factor.metadata)),
            ("url", .string("\(url(factor.service, factor.identity))/Factors/\(factor.sid)")),
        ]
        return .object(members)
    }

    /// - Parameter binding: secret and URI, only in the reply to the creation.
    func codeFactor(_ factor: CodeFactor, binding: (secret: String, uri: String)? = nil) -> JSONValue {
        var members: [(name: String, value: JSONValue)] = [
            ("sid", .string(factor.sid.rawValue)), ("account_sid", .string(factor.account.rawValue)),
            ("service_sid", .string(factor.service.rawValue)), ("entity_sid", .string(factor.entity.rawValue)),
            ("identity", .string(factor.identity)),
        ]
        if let binding {
            members.append(
                ("binding", .object([("secret", .string(binding.secret)), ("uri", .string(binding.uri))])))
            members.append(("options", .null))
        }
        members += [
            ("date_created", time(factor.createdAtMs)), ("date_updated", time(factor.updatedAtMs)),
            ("friendly_name", .string(factor.friendlyName)),
            ("status", .string(factor.isVerified ? "verified" : "unverified")), ("factor_type", .string("totp")),
            (
                "config",
                .object([
                    ("alg", .string(factor.code.algorithm.rawValue)), ("skew", .integer(Int64(factor.code.skew))),
                    ("code_length", .integer(Int64(factor.code.codeLength))),
                    ("time_step", .integer(Int64(factor.code.timeStep))),
                ])
            ), ("metadata", stored(factor.metadata)),
            ("url", .string("\(url(factor.service, factor.identity))/Factors/\(factor.sid)")),
        ]
        return .object(members)
    }

    // MARK: - Webhooks

    func webhook(_ webhook: Webhook) -> JSONValue {
        .object([
            ("sid", .string(webhook.sid.rawValue)), ("service_sid", .string(webhook.service.rawValue)),
            ("account_sid", .string(webhook.account.rawValue)), ("friendly_name", .string(webhook.friendlyName)),
            ("event_types", .array(webhook.eventTypes.map { .string($0) })),
            ("status", .string(webhook.isEnabled ? "enabled" : "disabled")), ("version", .string(webhook.version)),
            ("webhook_url", .string(webhook.url)), ("webhook_method", .string("POST")),
            ("date_created", time(webhook.createdAtMs)), ("date_updated", time(webhook.updatedAtMs)),
            ("url", .string("\(url(webhook.service))/Webhooks/\(webhook.sid)")),
        ])
    }

    // MARK: - Challenges

    /// A challenge for one reader. A device reads the SID of its own factor, also in a fan-out, because it signs this
    /// SID. For a fan-out, a backend reads null until a device answers, and then the SID of this device's factor.
    /// Devices and backends read different `beckon` objects.
    func challenge(
        _ challenge: Challenge, device: FactorSID?, nowMs: Int64, secrets: ChallengeSecrets = .init()
    ) -> JSONValue {
        let status = ChallengeLifecycle.status(
            stored: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: nowMs)
        let factor = device ?? challenge.factor ?? challenge.responder
        var details: [(name: String, value: JSONValue)] = [
            ("message", .string(challenge.message)), ("fields", stored(challenge.fields)),
        ]
        // The member is absent, never null, because one SDK reads null as a date and fails.
        if challenge.includesDate { details.append(("date", time(challenge.createdAtMs))) }
        let isWithdrawn = status == .canceled || status == .superseded
        let url = "\(url(challenge.service, challenge.identity))/Challenges/\(challenge.sid)"
        let value = JSONValue.object([
            ("sid", .string(challenge.sid.rawValue)), ("account_sid", .string(challenge.account.rawValue)),
            ("service_sid", .string(challenge.service.rawValue)), ("entity_sid", .string(challenge.entity.rawValue)),
            ("identity", .string(challenge.identity)), ("factor_sid", .optional(factor?.rawValue)),
            ("date_created", time(challenge.createdAtMs)), ("date_updated", time(challenge.updatedAtMs)),
            ("date_responded", challenge.respondedAtMs.map(time) ?? .null),
            ("expiration_date", time(challenge.expiresAtMs)), ("status", .string(status.wireStatus)),
            ("responded_reason", .string(isWithdrawn ? "not_needed" : "none")),
            ("details", challenge.isCodeChallenge && challenge.message.isEmpty ? .null : .object(details)),
            ("hidden_details", stored(challenge.hiddenDetails)), ("metadata", stored(challenge.metadata)),
            ("factor_type", .string(challenge.factorType)), ("url", .string(url)),
            ("links", .object([("notifications", .string("\(url)/Notifications"))])),
        ])
        let extensions =
            device == nil
            ? BeckonObject.challenge(challenge, secrets: secrets) : BeckonObject.challenge(forDevice: challenge)
        return extensions.map { value.adding("beckon", $0) } ?? value
    }

    func sessionToken(_ new: NewSessionToken, token: String, nowMs: Int64) -> JSONValue {
        .object([
            ("account_sid", .string(new.account.rawValue)), ("service_sid", .string(new.service.rawValue)),
            ("identity", .string(new.identity)), ("factor_sid", .optional(new.factor?.rawValue)),
            ("token", .string(token)), ("ttl", .integer(Int64(new.ttlSeconds))), ("date_created", time(nowMs)),
        ])
    }

    func notification(_ sid: NotificationSID, of challenge: Challenge, ttl: Int, nowMs: Int64) -> JSONValue {
        .object([
            ("sid", .string(sid.rawValue)), ("account_sid", .string(challenge.account.rawValue)),
            ("service_sid", .string(challenge.service.rawValue)), ("entity_sid", .string(challenge.entity.rawValue)),
            ("identity", .string(challenge.identity)), ("challenge_sid", .string(challenge.sid.rawValue)),
            ("priority", .string("high")), ("ttl", .integer(Int64(ttl))), ("date_created", time(nowMs)),
        ])
    }
}
