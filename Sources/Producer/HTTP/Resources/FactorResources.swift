import ChallengeModel
import Challenges
import Wire

extension API {
    /// Creates a factor, for a device with an access token or for a backend.
    func createFactor(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let service: ServiceSID = try call.sid(service)
        let account: AccountSID
        var accessToken: String?
        if case .device(let presented) = call.credentials {
            guard let parts = AccessTokenText.split(presented.text) else {
                metrics.authenticationFailed(.accessToken)
                throw APIError(.accessTokenMalformed, "Invalid access token: expected one from AccessTokens")
            }
            account = parts.account
            accessToken = parts.secret
        } else {
            account = try authenticator.backend(call)
        }
        var parameters = try call.parameters()
        // A SID names an existing entity; the store refuses an unknown one.
        let identity = EntitySID(identity) == nil ? try TextRules.identity(identity) : identity
        _ = try parameters.required("FactorType")
        if try parameters.choice("FactorType", ["push": false, "totp": true]) == true {
            guard accessToken == nil else {
                throw APIError(
                    .factorCreationRefused, "Unauthorized factor creation: access tokens are for push factors")
            }
            return try await createCodeFactor(
                call, &parameters, account: account, service: service, identity: identity)
        }
        let new = try newFactor(&parameters, account: account, service: service, identity: identity)
        do {
            let factor = try await store.createFactor(new, accessToken: accessToken, nowMs: call.nowMs)
            return .created(show(call).factor(factor, isNew: true), ignoring: parameters.unread)
        } catch StoreError.accessTokenRefused {
            metrics.authenticationFailed(.accessToken)
            throw StoreError.accessTokenRefused
        }
    }

    private func newFactor(
        _ parameters: inout ParameterReader, account: AccountSID, service: ServiceSID, identity: String
    ) throws -> NewFactor {
        let friendlyName = try parameters.required("FriendlyName", length: 1...64)
        _ = try parameters.required("Binding.Alg")
        _ = try parameters.choice("Binding.Alg", ["ES256": true])
        let publicKey = try FactorRules.publicKey(try parameters.required("Binding.PublicKey", .lines))
        _ = try parameters.required("Config.NotificationPlatform")
        let platform = try parameters.choice("Config.NotificationPlatform", among: FactorRules.platforms) ?? .noPush
        let token = try FactorRules.pushToken(try parameters.text("Config.NotificationToken"), platform: platform)
        let appID = try parameters.text("Config.AppId", length: 0...100)
        guard let appID = appID ?? (platform == .noPush ? "" : nil) else {
            throw RuleViolation("Config.AppId", "the bundle id or package name, which is required for pushes")
        }
        var new = NewFactor(
            account: account, service: service, identity: identity, friendlyName: friendlyName, publicKey: publicKey,
            platform: platform, pushToken: token, appID: appID)
        new.environment = try environment(&parameters) ?? .environmentUnspecified
        new.sdkVersion = try parameters.text("Config.SdkVersion", length: 0...64)
        new.notificationsEnabled = try parameters.boolean("Config.NotificationsEnabled")
        new.metadata = try metadata(&parameters)
        return new
    }

    func listFactors(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service: ServiceSID = try call.sid(service)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.allFactors(
            account: account, service: service, identity: identity, page: paging.request)
        if page.items.isEmpty { try await entity(identity, service: service, account: account) }
        return .ok(
            paging.body("factors", page) { factor in
                switch factor {
                case .push(let factor):
                    BeckonObject.factor(factor).map { show(call).factor(factor).adding("beckon", $0) }
                        ?? show(call).factor(factor)
                case .code(let factor): show(call).codeFactor(factor)
                }
            }, ignoring: parameters.unread)
    }

    func fetchFactor(_ call: APICall, _ service: String, _ identity: String, _ sid: String) async throws -> APIReply {
        if let sid = FactorSID(sid), sid.isCodeFactor {
            return try await fetchCodeFactor(call, service, identity, sid)
        }
        let factor = try await factor(call, service, identity, sid)
        let shown = show(call).factor(factor)
        // Devices get the reply of the original API.
        guard case .backend = call.caller, let extensions = BeckonObject.factor(factor) else { return .ok(shown) }
        return .ok(shown.adding("beckon", extensions))
    }

    /// Verifies the factor (`AuthPayload`), changes it, or both.
    func updateFactor(_ call: APICall, _ service: String, _ identity: String, _ sid: String) async throws -> APIReply {
        if let sid = FactorSID(sid), sid.isCodeFactor {
            return try await updateCodeFactor(call, service, identity, sid)
        }
        var factor = try await factor(call, service, identity, sid)
        var parameters = try call.parameters()
        let proof = try parameters.text("AuthPayload", length: 1...5456, .lines)
        let change = try change(of: factor, &parameters)
        if let proof {
            guard FactorRules.isProof(proof, of: factor.sid, publicKey: factor.publicKey) else {
                throw APIError(
                    .factorVerificationFailed,
                    "Factor verification failed: expected AuthPayload with base64 of a DER signature over the factor's SID"
                )
            }
        }
        if proof != nil || change != FactorChange() {
            factor = try await store.updateFactor(
                factor.sid, isProven: proof != nil, change, nowMs: call.nowMs)
        }
        return .ok(show(call).factor(factor), ignoring: parameters.unread)
    }

    private func change(of factor: Factor, _ parameters: inout ParameterReader) throws -> FactorChange {
        var change = FactorChange()
        change.friendlyName = try parameters.text("FriendlyName", length: 1...64)
        change.appID = try parameters.text("Config.AppId", length: 0...100)
        change.sdkVersion = try parameters.text("Config.SdkVersion", length: 0...64)
        change.notificationsEnabled = try parameters.boolean("Config.NotificationsEnabled")
        change.environment = try environment(&parameters)
        let platform = try parameters.choice("Config.NotificationPlatform", among: FactorRules.platforms)
        let token = try parameters.text("Config.NotificationToken")
        // An SDK sends the unchanged platform together with other changes.
        if token != nil || (platform != nil && platform != factor.platform) {
            let platform = platform ?? factor.platform
            change.pushToken = try FactorRules.pushToken(token, platform: platform)
            change.platform = platform
        }
        return change
    }

    func deleteFactor(_ call: APICall, _ service: String, _ identity: String, _ sid: String) async throws -> APIReply {
        if let sid = FactorSID(sid), sid.isCodeFactor {
            return try await deleteCodeFactor(call, service, identity, sid)
        }
        let factor = try await factor(call, service, identity, sid)
        guard try await store.deleteFactor(factor.sid, nowMs: call.nowMs) else { throw APIError.notFound }
        return .noContent
    }

    /// The factor in the path: for a device its own factor, for a backend a factor of its account.
    private func factor(
        _ call: APICall, _ service: String, _ identity: String, _ text: String
    ) async throws -> Factor {
        let service: ServiceSID = try call.sid(service)
        let sid: FactorSID = try call.sid(text)
        switch try authenticator.caller(call) {
        case .device(let factor): return factor
        case .backend(let principal):
            let factor = try await store.factor(sid, account: principal.account, service: service, identity: identity)
            guard let factor else { throw APIError.notFound }
            return factor
        }
    }

    private func environment(_ parameters: inout ParameterReader) throws(RuleViolation) -> ProviderEnvironment? {
        try parameters.choice("Config.Environment", ["production": .production, "sandbox": .sandbox])
    }

    func metadata(_ parameters: inout ParameterReader) throws(RuleViolation) -> String? {
        guard let text = try parameters.text("Metadata", .lines), !text.isEmpty else { return nil }
        return try TextRules.stringObject(text, parameter: "Metadata")
    }
}
