package import ChallengeModel

/// The numbers that the rules of the store are made of, the same for every implementation.
package enum StorePolicy {
    /// A request id has one result, a challenge or a rejection, for this long.
    static let requestIDLifeMs: Int64 = 25 * 3_600_000
    /// A factor that is not verified within this is as good as gone.
    static let unverifiedLifeMs: Int64 = 24 * 3_600_000
    /// An access token's row can be fetched for this long after its expiry.
    static let accessTokenKeptMs: Int64 = 24 * 3_600_000
    package static let dayMs: Int64 = 24 * 3_600_000
    /// Push factors per entity (60315).
    static let factorsPerEntity = 20
    /// Factors of type `totp` per entity (60315).
    static let codeFactorsPerEntity = 100
    /// Factors of any type made per entity in a day (60326).
    static let factorCreationsPerDay = 100
    /// Wrong codes until a challenge (60308) or a factor (60310) takes no more.
    static let codeAttempts = 5
    /// Each service's; ours, the original names none.
    static let webhooksPerService = 100

    /// Challenges that may be made of a `totp` factor within a span (60312).
    static func codeChallengeLimits(codeLength: Int) -> [(spanMs: Int64, limit: Int)] {
        let ofShort: [(spanMs: Int64, limit: Int)] = [(dayMs, 10)]
        let ofLong: [(spanMs: Int64, limit: Int)] = [(3_600_000, 50), (dayMs, 100)]
        return codeLength <= 4 ? ofShort : ofLong
    }
    /// Unverified factors that one access token makes: a phone whose answer was lost tries again.
    static let factorsPerAccessToken = 3
    /// An idempotency key names one challenge for this long.
    static let idempotencyKeyLifeMs: Int64 = 24 * 3_600_000
    /// What a challenge must have left to stand for a new one of its action, or a quarter of its life when that is more.
    static let leastLifeMs: Int64 = 30_000
    /// Wrong numbers until a challenge is denied.
    static let numberTries = 3
    /// How often a reached limit of an identity is told at most.
    static let limitTellingMs: Int64 = 60_000
    /// Resends per challenge (60309).
    static let notificationsPerChallenge = 3
    /// Background pushes per APNs device and window; Apple: "don't try to send more than two or three per hour".
    static let backgroundPushesPerWindow = 2
    static let backgroundWindowMs: Int64 = 3_600_000
    /// Background pushes that one challenge reserves.
    static let backgroundPushesPerChallenge = 1

    /// API keys per account that are not revoked.
    static let keysPerAccount = 200
    /// How long a login that was right is believed, and so how long a revocation by another process may go unseen.
    static let loginCacheMs = 2000
    /// How long a write of the Producer waits for another process that writes.
    package static let lockWaitMs = 1000
    /// The audit trail of settings, keys, factors, and that of challenges and access tokens.
    static let auditKeptMs: Int64 = 400 * 24 * 3_600_000
    static let auditTrafficKeptMs: Int64 = 30 * 24 * 3_600_000

    /// What is kept of one challenge's delivery: 20 devices with all their pushes and receipts are fewer.
    static let factsPerChallenge = 400
    /// A factor whose push token is dead stays for so long without a signed request.
    static let unreachableKeptMs: Int64 = 30 * dayMs
    /// How exactly the last signed request of a device is known.
    static let signedResolutionMs: Int64 = 12 * 3_600_000
    /// A credential of which no token was known to its provider for so long has failed; and how long one that has failed
    /// must be free of faults, with a push accepted, for the next fault to be news.
    static let failureWindowMs: Int64 = 5 * 60_000

    /// How many background pushes a new challenge may use on a device that was promised `used` within the window.
    static func backgroundBudget(used: Int) -> Int {
        min(backgroundPushesPerChallenge, max(0, backgroundPushesPerWindow - used))
    }

    /// Zeros become the defaults.
    package static func completed(_ redelivery: Redelivery) -> Redelivery {
        var completed = redelivery
        if completed.maxAttempts == 0 { completed.maxAttempts = 4 }
        if completed.expectedLatencyMs == 0 { completed.expectedLatencyMs = 8000 }
        if completed.confirm == .unspecified { completed.confirm = .each }
        return completed
    }

    /// Identities are equal when they differ in case only.
    package static func identityKey(_ identity: String) -> String { identity.lowercased() }
}
