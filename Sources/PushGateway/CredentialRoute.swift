import ChallengeModel
import NIOCore
import PushProviders

/// One credential, ready to send pushes: its provider's code, its token and its senders.
final class CredentialRoute: Sendable {
    /// The way in which a request authenticates Beckon.
    enum Authorization: Sendable {
        /// By the certificate of the connection; the request carries nothing.
        case connection
        case signed(any BearerSigner)
        case fetched(OAuthToken)
    }

    /// A class, because every push keeps a reference to it.
    final class Way: Sendable {
        let credential: any OpenCredential
        let platform: Platform
        let authorization: Authorization
        /// One sender for each of the credential's endpoints, in their order.
        let senders: [ProviderSender]

        init(credential: any OpenCredential, authorization: Authorization, senders: [ProviderSender]) {
            self.credential = credential
            platform = credential.platform
            self.authorization = authorization
            self.senders = senders
        }

        func sender(for push: Push) -> ProviderSender {
            senders.count == 1 ? senders[0] : senders[credential.way(of: push)]
        }
    }

    /// The credential as it was set, to decide whether a record on `configuration` changes it.
    let secret: ProviderCredential
    /// Nil when the key cannot be used. Every push then gets a credential fault.
    let way: Way?

    init(secret: ProviderCredential, way: Way?) {
        self.secret = secret
        self.way = way
    }

    private var senders: [ProviderSender] { way?.senders ?? [] }

    var openCircuits: Int { senders.count { $0.isKeptBack } }

    /// The lowest limit of outstanding pushes among its senders; nil: it has none.
    var limit: (Platform, Int)? {
        guard let way else { return nil }
        return way.senders.map(\.limit).min().map { (way.platform, $0) }
    }

    /// Futures that complete when all outstanding pushes have ended.
    func drain() -> [EventLoopFuture<Void>] { senders.flatMap { $0.drain() } }

    func abort() -> [EventLoopFuture<Void>] {
        closeToken()
        return senders.flatMap { $0.abort() }
    }

    func closeToken() {
        if case .fetched(let token)? = way?.authorization { token.close() }
    }
}
