import ChallengeModel
import Challenges
import Testing

/// One promise of ``ChallengeStore``, checked on a fresh store: the same list for every implementation.
struct ConformanceCase: Sendable, CustomTestStringConvertible {
    let sentence: String
    /// Of the store: none, but for what is promised about them.
    let limits: ChallengeLimits
    /// The first step of the schema on PostgreSQL that has its tables; 0: any that is served.
    let since: Int
    let check: @Sendable (World) async throws -> Void

    init(
        _ sentence: String, limits: ChallengeLimits = .none, since: Int = 0,
        _ check: @escaping @Sendable (World) async throws -> Void
    ) {
        self.sentence = sentence
        self.limits = limits
        self.since = since
        self.check = check
    }

    var testDescription: String { sentence }

    /// What every store promises.
    static let all =
        accounts + keys + people + challenges + answers + sweeps + races + codes + limits + actions + approvals
        + delivery + together + webhooks + alerts
    /// What a store promises whose outbox is leased by ranges of rows and by the caller's clock.
    /// ``PostgresOutboxTests`` has the same for lanes, which are leased by the server's clock.
    static let rangeLeases = outbox
}

/// Keys that every store under test gets, so that what it seals can be opened.
enum TestKeys {
    static let store = KeyRing.random(id: "store")
    static let configuration = KeyRing.random(id: "configuration")
    static let both = StoreKeys(store: store, configuration: configuration)
}
