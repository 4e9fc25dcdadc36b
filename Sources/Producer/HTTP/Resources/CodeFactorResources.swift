import ChallengeModel
import Challenges
import Crypto
import Wire

/// Factors of type `totp` and their challenges, only for backends. Devices do not use them.
extension API {
    func createCodeFactor(
        _ call: APICall, _ parameters: inout ParameterReader, account: AccountSID, service: ServiceSID, identity: String
    ) async throws -> APIReply {
        let owner = try await self.service(service.rawValue, account: account, call: call)
        let settings = ServiceSettings(stored: owner.settings)
        let friendlyName = try parameters.required("FriendlyName", length: 1...64)
        let code = try CodeRules.config(&parameters, unset: settings.code)
        let secret: [UInt8]
        if let text = try parameters.text("Binding.Secret"), !text.isEmpty {
            secret = try CodeRules.secret(text)
        } else {
            secret = SymmetricKey(size: .init(bitCount: code.algorithm.secretLength * 8)).withUnsafeBytes { Array($0) }
        }
        let new = NewCodeFactor(
            account: account, service: service, identity: identity, friendlyName: friendlyName, secret: secret,
            code: code, metadata: try metadata(&parameters))
        let factor = try await store.createCodeFactor(new, nowMs: call.nowMs)
        let issuer =
            settings.value("Totp.Issuer", unset: .string(owner.friendlyName)).stringValue ?? owner.friendlyName
        return .created(
            show(call).codeFactor(
                factor,
                binding: (
                    secret: Base32.encode(secret),
                    uri: CodeRules.uri(issuer: issuer, friendlyName: friendlyName, secret: secret, code: code)
                )), ignoring: parameters.unread)
    }

    func fetchCodeFactor(
        _ call: APICall, _ service: String, _ identity: String, _ sid: FactorSID
    ) async throws -> APIReply {
        .ok(show(call).codeFactor(try await codeFactor(call, service, identity, sid)))
    }

    /// Verifies the factor (`AuthPayload`), changes it, or both. The code is checked first, with the former settings.
    func updateCodeFactor(
        _ call: APICall, _ service: String, _ identity: String, _ sid: FactorSID
    ) async throws -> APIReply {
        var factor = try await codeFactor(call, service, identity, sid)
        var parameters = try call.parameters()
        let code = try CodeRules.payload(&parameters)
        var change = CodeFactorChange()
        change.friendlyName = try parameters.text("FriendlyName", length: 1...64)
        let config = try CodeRules.config(&parameters, unset: factor.code)
        if config != factor.code { change.code = config }
        if let code {
            do {
                factor = try await store.verifyCodeFactor(sid, code: code, nowMs: call.nowMs)
            } catch StoreError.codeRefused {
                throw APIError(
                    .factorVerificationFailed, "Factor verification failed: AuthPayload is not the current code")
            }
        }
        if change != CodeFactorChange() {
            factor = try await store.updateCodeFactor(sid, change, nowMs: call.nowMs)
        }
        return .ok(show(call).codeFactor(factor), ignoring: parameters.unread)
    }

    func deleteCodeFactor(
        _ call: APICall, _ service: String, _ identity: String, _ sid: FactorSID
    ) async throws -> APIReply {
        let factor = try await codeFactor(call, service, identity, sid)
        guard try await store.deleteCodeFactor(factor.sid, nowMs: call.nowMs) else { throw APIError.notFound }
        return .noContent
    }

    private func codeFactor(
        _ call: APICall, _ service: String, _ identity: String, _ sid: FactorSID
    ) async throws -> CodeFactor {
        let service: ServiceSID = try call.sid(service)
        // A device's token always belongs to another factor, so it is refused here.
        let caller = try authenticator.caller(call)
        let found = try await store.codeFactor(sid, account: caller.account, service: service, identity: identity)
        guard let factor = found else { throw APIError.notFound }
        return factor
    }

    // MARK: - Challenges

    /// - Parameter new: a challenge like one for push, but with a factor of type `totp`.
    func createCodeChallenge(
        _ call: APICall, _ new: NewChallenge, code: String?, ignoring ignored: [String]
    ) async throws -> APIReply {
        let challenge: Challenge
        do {
            challenge = try await store.createCodeChallenge(new, code: code, nowMs: call.nowMs)
        } catch StoreError.repeated {
            guard let replay = try await replay(call, of: new, ignoring: ignored) else { throw APIError.notFound }
            return replay
        }
        metrics.challengeCreated(source: "http")
        if code != nil { metrics.answer(challenge.status == .approved ? .approved : .refused) }
        return .created(show(call).challenge(challenge, device: nil, nowMs: call.nowMs), ignoring: ignored)
    }

    func answerCodeChallenge(_ call: APICall, _ challenge: Challenge) async throws -> APIReply {
        var parameters = try call.parameters()
        let code = try CodeRules.payload(try parameters.required("AuthPayload"))
        let metadata = try metadata(&parameters)
        do {
            let answered =
                challenge.isCodeChallenge
                ? try await store.answerCodeChallenge(
                    challenge.sid, code: code, metadata: metadata, nowMs: call.nowMs)
                : try await store.answerWithCode(challenge.sid, code: code, metadata: metadata, nowMs: call.nowMs)
            metrics.answer(.approved)
            return .ok(show(call).challenge(answered, device: nil, nowMs: call.nowMs), ignoring: parameters.unread)
        } catch StoreError.codeRefused {
            metrics.answer(.refused)
            throw APIError(
                .answerRefused,
                "Challenge verification failed: AuthPayload is not the current code, or the code was already used"
            )
        } catch let error as StoreError where error == .alreadyResponded || error == .alreadyExpired {
            metrics.answer(.late)
            throw error
        }
    }
}
