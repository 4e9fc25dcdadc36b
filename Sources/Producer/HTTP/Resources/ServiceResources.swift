import ChallengeModel
import Challenges

extension API {
    func createService(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        var new = NewService(
            account: account, friendlyName: try parameters.required("FriendlyName", length: 1...32))
        new.includeDate = try parameters.boolean("Push.IncludeDate") ?? false
        new.apnCredential = try await credential(.apn, account, &parameters) ?? nil
        new.fcmCredential = try await credential(.fcm, account, &parameters) ?? nil
        new.hmsCredential = try await credential(.hms, account, &parameters) ?? nil
        new.webPushCredential = try await credential(.webpush, account, &parameters) ?? nil
        var settings = ServiceSettings()
        _ = try settings.read(&parameters)
        new.settings = settings.stored
        for change in try PolicySettings.read(&parameters) { new.policy.apply(change) }
        let service = try await store.createService(new, nowMs: call.nowMs)
        return .created(show(call).service(service), ignoring: parameters.unread)
    }

    func listServices(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.services(account: account, page: paging.request)
        return .ok(paging.body("services", page, show(call).service), ignoring: parameters.unread)
    }

    func fetchService(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        return .ok(show(call).service(try await service(sid, account: account, call: call)))
    }

    func updateService(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let current = try await service(sid, account: account, call: call)
        var parameters = try call.parameters()
        var change = ServiceChange()
        change.friendlyName = try parameters.text("FriendlyName", length: 1...32)
        change.includeDate = try parameters.boolean("Push.IncludeDate")
        change.apnCredential = try await credential(.apn, account, &parameters)
        change.fcmCredential = try await credential(.fcm, account, &parameters)
        change.hmsCredential = try await credential(.hms, account, &parameters)
        change.webPushCredential = try await credential(.webpush, account, &parameters)
        var settings = ServiceSettings(stored: current.settings)
        if try settings.read(&parameters) { change.settings = settings.stored }
        change.policy = try PolicySettings.read(&parameters)
        let service = try await store.updateService(current.sid, account: account, change, nowMs: call.nowMs)
        return .ok(show(call).service(service), ignoring: parameters.unread)
    }

    func deleteService(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard try await store.deleteService(call.sid(sid), account: account, nowMs: call.nowMs) else {
            throw APIError.notFound
        }
        return .noContent
    }

    /// The kind of credential that a parameter names. The raw value is the credential's type.
    private enum CredentialKind: String {
        case apn, fcm, hms, webpush

        var parameter: String {
            switch self {
            case .apn: "Push.ApnCredentialSid"
            case .fcm: "Push.FcmCredentialSid"
            case .hms: "Push.HmsCredentialSid"
            case .webpush: "Push.WebPushCredentialSid"
            }
        }
    }

    /// Reads a credential of the account and of the right provider. A wrong one would be noticed only when a push
    /// fails.
    /// - Returns: nil when the parameter was not sent, `.some(nil)` for an empty value.
    private func credential(
        _ kind: CredentialKind, _ account: AccountSID, _ parameters: inout ParameterReader
    ) async throws -> CredentialSID?? {
        let (name, type) = (kind.parameter, kind.rawValue)
        guard let text = try parameters.text(name) else { return nil }
        guard !text.isEmpty else { return .some(nil) }
        guard let sid = CredentialSID(text), let credential = try await store.credential(sid, account: account),
            credential.type == type
        else {
            throw RuleViolation(
                name, "the SID (CR…) of a credential of type \(type) of this account, or an empty value")
        }
        return sid
    }
}
