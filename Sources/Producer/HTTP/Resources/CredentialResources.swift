import ChallengeModel
import ChallengeStore
import Wire

extension API {
    func createCredential(_ call: APICall) async throws -> APIReply {
        let account = try await authenticator.backend(call)
        var parameters = try call.parameters()
        let friendlyName = try parameters.text("FriendlyName", length: 0...64) ?? ""
        _ = try parameters.required("Type")
        let type = try parameters.choice("Type", ["apn": "apn", "fcm": "fcm", "hms": "hms"])
        var secret = ProviderCredential()
        switch type {
        case "fcm": secret.fcm = try CredentialRules.serviceAccount(try parameters.required("ServiceAccount", .lines))
        case "hms":
            secret.hms.appID = try CredentialRules.hmsAppID(try parameters.required("AppId"))
            secret.hms.appSecret = try parameters.required("AppSecret", length: 1...256)
        default: try apns(&secret, &parameters)
        }
        let credential = try await store.createCredential(
            account: account, friendlyName: friendlyName, secret: secret, nowMs: call.nowMs)
        return .created(show(call).credential(credential), ignoring: parameters.unread)
    }

    /// A token key (`TeamId`, `KeyId`, `PrivateKey`), or the original's `Certificate` and `PrivateKey`.
    private func apns(
        _ secret: inout ProviderCredential, _ parameters: inout ParameterReader
    ) throws(RuleViolation) {
        let sandbox = try parameters.boolean("Sandbox") ?? false
        if let certificate = try parameters.text("Certificate", .lines) {
            secret.apnsCertificate = try CredentialRules.apnsCertificate(
                certificate, key: try parameters.required("PrivateKey", .lines))
            secret.apnsCertificate.sandbox = sandbox
            return
        }
        var key = ApnsTokenKey()
        key.teamID = try CredentialRules.appleID(try parameters.required("TeamId"), parameter: "TeamId")
        key.keyID = try CredentialRules.appleID(try parameters.required("KeyId"), parameter: "KeyId")
        key.privateKeyPem = try CredentialRules.apnsKey(try parameters.required("PrivateKey", .lines))
        key.sandbox = sandbox
        secret.apnsToken = key
    }

    func listCredentials(_ call: APICall) async throws -> APIReply {
        let account = try await authenticator.backend(call)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.credentials(account: account, page: paging.request)
        return .ok(paging.body("credentials", page, show(call).credential), ignoring: parameters.unread)
    }

    func fetchCredential(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try await authenticator.backend(call)
        guard let credential = try await store.credential(call.sid(sid), account: account) else {
            throw APIError.notFound
        }
        return .ok(show(call).credential(credential))
    }

    func deleteCredential(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try await authenticator.backend(call)
        guard try await store.deleteCredential(call.sid(sid), account: account, nowMs: call.nowMs) else {
            throw APIError.notFound
        }
        return .noContent
    }
}
