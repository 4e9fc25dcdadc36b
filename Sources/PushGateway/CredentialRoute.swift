import ChallengeModel
import NIOCore

/// One credential, ready to send with: its token and its lanes.
final class CredentialRoute: Sendable {
    enum Provider: Sendable {
        /// Without a token the connections' certificate says who we are.
        case apns(ProviderToken?, production: ProviderLane, sandbox: ProviderLane, isSandbox: Bool)
        case fcm(ServiceAccount, OAuthToken, ProviderLane)
        case hms(HMSApp, OAuthToken, ProviderLane)
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
        case .fcm(_, _, let lane), .hms(_, _, let lane): [lane]
        case .faulty: []
        }
    }

    var openCircuits: Int { lanes.count { $0.isKeptBack } }

    /// The lower of its lanes' limits of what may be outstanding; nil: it has none.
    var limit: (Platform, Int)? {
        let platform: Platform
        switch provider {
        case .apns: platform = .apn
        case .fcm: platform = .fcm
        case .hms: platform = .hms
        case .faulty: return nil
        }
        return lanes.map(\.limit).min().map { (platform, $0) }
    }

    /// Ends when what is outstanding has ended.
    func drain() -> [EventLoopFuture<Void>] { lanes.flatMap { $0.drain() } }

    func abort() -> [EventLoopFuture<Void>] {
        closeToken()
        return lanes.flatMap { $0.abort() }
    }

    func closeToken() {
        switch provider {
        case .fcm(_, let token, _), .hms(_, let token, _): token.close()
        case .apns, .faulty: break
        }
    }
}
