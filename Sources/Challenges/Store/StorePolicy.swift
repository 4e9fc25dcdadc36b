package import ChallengeModel

/// The constants of the store's rules, the same for every storage engine.
package enum StorePolicy {
    /// A request id has one result, a challenge or a rejection, for this long.
    static let requestIDLifeMs: Int64 = 25 * 3_600_000
    /// A factor that is not verified within this time counts as deleted.
    static let unverifiedLifeMs: Int64 = 24 * 3_600_000
    /// How long the use of a device's token is remembered after the token's expiry: a Producer whose clock is behind
    /// accepts the token longer.
    static let tokenUseKeptMs: Int64 = 15 * 60_000
    /// An access token's row can be fetched for this long after its expiry.
    static let accessTokenKeptMs: Int64 = 24 * 3_600_000
    package static let dayMs: Int64 = 24 * 3_600_000
    /// Push factors per entity (60315).
    static let factorsPerEntity = 20
    /// Factors of type `totp` per entity (60315).
    static let codeFactorsPerEntity = 100
    /// Factors of any type that may be created per entity in a day (60326).
    static let factorCreationsPerDay = 100
    /// Wrong codes after which a challenge (60308) or a factor (60310) accepts no more codes.
    static let codeAttempts = 5
    /// Webhooks per service. The original API documents no limit.
    static let webhooksPerService = 100

    /// Challenges that may be created for a `totp` factor within a span (60312).
    static func codeChallengeLimits(codeLength: Int) -> [(spanMs: Int64, limit: Int)] {
        let ofShort: [(spanMs: Int64, limit: Int)] = [(dayMs, 10)]
        let ofLong: [(spanMs: Int64, limit: Int)] = [(3_600_000, 50), (dayMs, 100)]
        return codeLength <= 4 ? ofShort : ofLong
    }
    /// Unverified factors that one access token may create, because a phone tries again when a reply is lost.
    static let factorsPerAccessToken = 3
    /// An idempotency key names one challenge for this long.
    static let idempotencyKeyLifeMs: Int64 = 24 * 3_600_000
    /// Life that a pending challenge must have left to be returned for a new request of its action. A quarter of its
    /// whole life is required when that is more.
    static let leastLifeMs: Int64 = 30_000
    /// Wrong numbers after which a challenge is denied.
    static let numberTries = 3
    /// Shortest time between two events `limit.reached` of an identity.
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
    /// How long a correct login is cached. A revocation by another process may stay unnoticed for this time.
    static let loginCacheMs = 2000
    /// How long a write of the Producer waits for another process that writes.
    package static let lockWaitMs = 1000
    /// How long audit events are kept: first those of settings, keys and factors, then those of challenges and access
    /// tokens.
    static let auditKeptMs: Int64 = 400 * 24 * 3_600_000
    static let auditTrafficKeptMs: Int64 = 30 * 24 * 3_600_000
    /// How long alerts are kept after the first event.
    static let alertsKeptMs: Int64 = 30 * 24 * 3_600_000

    /// Delivery facts that are kept per challenge. 20 devices with all their pushes and receipts have fewer.
    static let factsPerChallenge = 400
    /// How long a factor with a dead push token is kept after its last signed request.
    static let unreachableKeptMs: Int64 = 30 * dayMs
    /// Precision of the time of a device's last signed request.
    static let signedResolutionMs: Int64 = 12 * 3_600_000
    /// A credential has failed when its provider has known none of its tokens for this long. A failed credential must
    /// then be free of faults for this long, with an accepted push, before another fault emits an event again.
    static let failureWindowMs: Int64 = 5 * 60_000

    /// Background pushes that a new challenge may use on a device for which `used` are already reserved within the
    /// window.
    static func backgroundBudget(used: Int) -> Int {
        min(backgroundPushesPerChallenge, max(0, backgroundPushesPerWindow - used))
    }

    /// Dispatches of a challenge that a provider accepts, when neither the challenge nor its service says.
    package static let maxAttempts = 4
    /// Time from the provider's acceptance to the next attempt, when neither the challenge nor its service says.
    package static let expectedLatencyMs = 8000

    /// Replaces zeros by the defaults.
    package static func completed(_ redelivery: Redelivery) -> Redelivery {
        var completed = redelivery
        if completed.maxAttempts == 0 { completed.maxAttempts = UInt32(maxAttempts) }
        if completed.expectedLatencyMs == 0 { completed.expectedLatencyMs = UInt32(expectedLatencyMs) }
        if completed.confirm == .unspecified { completed.confirm = .each }
        return completed
    }

    /// Identities that differ only in case are equal.
    package static func identityKey(_ identity: String) -> String { identity.lowercased() }

    /// Whether two identities are equal. Their keys are compared byte by byte, as in the store.
    package static func isSameIdentity(_ one: String, _ other: String) -> Bool {
        identityKey(one).utf8.elementsEqual(identityKey(other).utf8)
    }
}
