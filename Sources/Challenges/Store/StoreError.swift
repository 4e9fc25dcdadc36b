/// The reason of a refusal by the store.
public enum StoreError: Error, Sendable, Equatable {
    public enum Kind: String, Sendable {
        case account, service, credential, entity, factor, challenge, accessToken, webhook
    }
    public enum Limit: String, Sendable {
        case notifications, codeFactors, factorCreations, factorAttempts, challengeAttempts, challengeCreations
        case entityCreations, webhooks, keys
    }
    /// Why nothing can be pushed to the factor of a challenge.
    public enum NoPush: Sendable {
        /// The factor is of type `totp`.
        case codeFactor
        /// The factor's notification platform is `none`.
        case noPlatform
    }

    case notFound(Kind)
    case conflict(Kind)
    case limit(Limit)
    /// - Parameter bound: the number of push factors that the identity may have: the service's limit, or twenty
    ///   together with the unverified factors.
    case factorLimit(bound: Int)
    /// The access token is unknown, expired, used up, or for another service or identity.
    case accessTokenRefused
    /// A device's token was used for another request that changed something.
    case tokenReplayed
    case factorUnverified
    /// A one-time code is wrong, or was already used.
    case codeRefused
    /// The identity has no verified factor of type `totp`.
    case noCodeFactor
    /// - Parameter fallbacks: the fall-backs of the challenge, or of the service.
    case noVerifiedFactor(fallbacks: [String])
    /// The service does not allow fan-out.
    case factorRequired
    /// A challenge requires less than its service.
    case loosened(ApprovalRule)
    /// A signed approval lacks the number or the session token that the challenge requires.
    case approvalRefused(ApprovalRefusal)
    case limited(LimitRefusal)
    case noPush(NoPush)
    /// An idempotency key was used for another request.
    case idempotencyConflict
    /// The idempotency key has already created the challenge: another request was faster after the caller had checked
    /// the key.
    case repeated
    case alreadyResponded
    case alreadyExpired
    /// The request id was rejected before, or its challenge was deleted. It creates no challenge any more.
    case requestClosed
    /// A text contains U+0000, which ends texts in databases.
    case nulInText
    /// More writes are waiting than the bound allows.
    case busy
    /// Nothing was done, unless ``StoreFault/mayBeDone``, and the same may be done later.
    case unavailable(StoreFault)
    case closed
    /// A sealed value that no key opens, or a database error. The text never contains stored values.
    case failed(String)
}
