import ChallengeModel
import NIOCore
import PushProviders

/// One credential, ready to send with: what its provider knows, its token and its lanes.
final class CredentialRoute: Sendable {
    /// What a request says about who we are.
    enum Authorization: Sendable {
        /// Nothing: the connection's certificate says it.
        case connection
        case signed(any BearerSigner)
        case fetched(OAuthToken)
    }

    /// A class, because every push holds on to it.
    final class Way: Sendable {
        let credential: any OpenCredential
        let platform: Platform
        let authorization: Authorization
        /// One for each of the credential's ways, in their order.
        let lanes: [ProviderLane]

        init(credential: any OpenCredential, authorization: Authorization, lanes: [ProviderLane]) {
            self.credential = credential
            platform = credential.platform
            self.authorization = authorization
            self.lanes = lanes
        }

        func lane(for push: Push) -> ProviderLane { lanes.count == 1 ? lanes[0] : lanes[credential.way(of: push)] }
    }

    /// As it was given, to tell whether a record on `configuration` changes anything.
    let secret: ProviderCredential
    /// Nil when the key cannot be used: every push gets a credential fault.
    let way: Way?

    init(secret: ProviderCredential, way: Way?) {
        self.secret = secret
        self.way = way
    }

    private var lanes: [ProviderLane] { way?.lanes ?? [] }

    var openCircuits: Int { lanes.count { $0.isKeptBack } }

    /// The lower of its lanes' limits of what may be outstanding; nil: it has none.
    var limit: (Platform, Int)? {
        guard let way else { return nil }
        return way.lanes.map(\.limit).min().map { (way.platform, $0) }
    }

    /// Ends when what is outstanding has ended.
    func drain() -> [EventLoopFuture<Void>] { lanes.flatMap { $0.drain() } }

    func abort() -> [EventLoopFuture<Void>] {
        closeToken()
        return lanes.flatMap { $0.abort() }
    }

    func closeToken() {
        if case .fetched(let token)? = way?.authorization { token.close() }
    }
}
