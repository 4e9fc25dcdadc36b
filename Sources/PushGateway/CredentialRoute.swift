import ChallengeModel
import NIOCore

/// One credential, ready to send with: its token and its lanes.
final class CredentialRoute: Sendable {
    enum Provider: Sendable {
        case apns(ProviderToken, production: ProviderLane, sandbox: ProviderLane, isSandbox: Bool)
        case fcm(ServiceAccount, FCMAccessToken, ProviderLane)
        /// The key cannot be used: every push gets a credential fault with this reason.
        case faulty(reason: String)
    }

    /// As it was given, to tell whether a record on `configuration` changes anything.
    let secret: ProviderCredential
    let provider: Provider

    init(secret: ProviderCredential, provider: Provider) {
        self.secret = secret
        self.provider = provider
    }

    private var lanes: [ProviderLane] {
        switch provider {
        case .apns(_, let production, let sandbox, _): [production, sandbox]
        case .fcm(_, _, let lane): [lane]
        case .faulty: []
        }
    }

    /// Ends when what is outstanding has ended.
    func drain() -> [EventLoopFuture<Void>] { lanes.flatMap { $0.drain() } }

    func abort() -> [EventLoopFuture<Void>] {
        closeToken()
        return lanes.flatMap { $0.abort() }
    }

    func closeToken() {
        if case .fcm(_, let token, _) = provider { token.close() }
    }
}
