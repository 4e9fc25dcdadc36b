import ChallengeModel
import NIOCore
import PushProviders

/// One credential, ready to send pushes: its provider's code, its token and its lanes.
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
        /// One lane for each of the credential's endpoints, in their order.
        let lanes: [ProviderLane]

        init(credential: any OpenCredential, authorization: Authorization, lanes: [ProviderLane]) {
            self.credential = credential
            platform = credential.platform
            self.authorization = authorization
            self.lanes = lanes
        }

        func lane(for push: Push) -> ProviderLane { lanes.count == 1 ? lanes[0] : lanes[credential.way(of: push)] }
    }

    /// The credential as it was set, to decide whether a record on `configuration` changes it.
    let secret: ProviderCredential
    /// Nil when the key cannot be used. Every push then gets a credential fault.
    let way: Way?

    init(secret: ProviderCredential, way: Way?) {
        self.secret = secret
        self.way = way
    }

    private var lanes: [ProviderLane] { way?.lanes ?? [] }

    var openCircuits: Int { lanes.count { $0.isKeptBack } }

    /// The lowest limit of outstanding pushes among its lanes; nil: it has none.
    var limit: (Platform, Int)? {
        guard let way else { return nil }
        return way.lanes.map(\.limit).min().map { (way.platform, $0) }
    }

    /// Futures that complete when all outstanding pushes have ended.
    func drain() -> [EventLoopFuture<Void>] { lanes.flatMap { $0.drain() } }

    func abort() -> [EventLoopFuture<Void>] {
        closeToken()
        return lanes.flatMap { $0.abort() }
    }

    func closeToken() {
        if case .fetched(let token)? = way?.authorization { token.close() }
    }
}
