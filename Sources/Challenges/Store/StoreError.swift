/// Why the store refused.
public enum StoreError: Error, Sendable, Equatable {
    public enum Kind: String, Sendable {
        case account, service, credential, entity, factor, challenge, accessToken, webhook
    }
    public enum Limit: String, Sendable {
        case notifications, codeFactors, factorCreations, factorAttempts, challengeAttempts, challengeCreations
        case entityCreations, webhooks, keys
    }

    case notFound(Kind)
    case conflict(Kind)
    case limit(Limit)
    /// - Parameter bound: the push factors that the identity may have: the service's number, or twenty with those never verified.
    case factorLimit(bound: Int)
    /// Unknown, expired, for another service or identity, used up or spent.
    case accessTokenRefused
    /// A device's token was used for another request that changed something.
    case tokenReplayed
    case factorUnverified
    /// A one-time code is wrong, or was used.
    case codeRefused
    /// - Parameter fallbacks: the challenge's, or the service's.
    case noVerifiedFactor(fallbacks: [String])
    /// The service allows no fan-out.
    case factorRequired
    /// A challenge asks for less than its service demands.
    case loosened(ApprovalRule)
    /// A signed approval lacks what the challenge needs beside it.
    case approvalRefused(ApprovalRefusal)
    case limited(LimitRefusal)
    /// An idempotency key was used for another request.
    case idempotencyConflict
    /// An idempotency key made this before: where the caller asks for it first, and another was quicker.
    case repeated
    case alreadyResponded
    case alreadyExpired
    /// A request id was rejected before, or what it made is gone: it makes nothing any more.
    case requestClosed
    /// A text holds U+0000, which ends texts in databases.
    case nulInText
    /// More writes wait than the bound allows.
    case busy
    /// Nothing was done, unless ``StoreFault/mayBeDone``, and the same may be done later.
    case unavailable(StoreFault)
    case closed
    /// A sealed value that no key opens, or a database error; never with values in it.
    case failed(String)
}
