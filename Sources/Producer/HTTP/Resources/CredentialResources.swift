import ChallengeModel
import Challenges
import PushProviders
import Wire

extension API {
    func createCredential(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let friendlyName = try parameters.text("FriendlyName", length: 0...64) ?? ""
        _ = try parameters.required("Type")
        let provider = try parameters.choice("Type", among: PushProviders.all.map { ($0.word, $0) })
        var secret = ProviderCredential()
        var reader = CredentialReader(parameters: parameters)
        do throws(ParameterFault) {
            secret.secret = try provider?.readCredential(&reader)
        } catch {
            throw RuleViolation(error)
        }
        parameters = reader.parameters
        let credential = try await store.createCredential(
            account: account, friendlyName: friendlyName, secret: secret, nowMs: call.nowMs)
        return .created(show(call).credential(credential), ignoring: parameters.unread)
    }

    func listCredentials(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.credentials(account: account, page: paging.request)
        return .ok(paging.body("credentials", page, show(call).credential), ignoring: parameters.unread)
    }

    func fetchCredential(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard let credential = try await store.credential(call.sid(sid), account: account) else {
            throw APIError.notFound
        }
        return .ok(show(call).credential(credential))
    }

    func deleteCredential(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard try await store.deleteCredential(call.sid(sid), account: account, nowMs: call.nowMs) else {
            throw APIError.notFound
        }
        return .noContent
    }
}
