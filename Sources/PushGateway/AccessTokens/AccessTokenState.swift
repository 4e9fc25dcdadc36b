import PushProviders
import Wire

/// Decides when an access token may be used, when a new one must be fetched, and how long the token endpoint must not
/// be called. A pure value without I/O.
struct AccessTokenState {
    enum Demand: Equatable {
        case use(SharedBytes)
        /// A token is being fetched, or must be fetched now.
        case wait
        /// No token is available before this time. `refused` is the endpoint's `error` when it refused the key.
        case none(retryAtMs: Int64, refused: String?)

        static func == (left: Demand, right: Demand) -> Bool {
            switch (left, right) {
            case (.use(let a), .use(let b)): a === b
            case (.wait, .wait): true
            case (.none(let a, let b), .none(let c, let d)): a == c && b == d
            default: false
            }
        }
    }

    /// A token is fetched again when its remaining life is less than this.
    static let renewBeforeMs: Int64 = 300_000
    /// A token is not used any more when its remaining life is less than this.
    static let useBeforeMs: Int64 = 30_000
    /// The longest wait that an endpoint's `Retry-After` can cause.
    static let longestWaitMs: Int64 = 300_000

    private(set) var bearer: SharedBytes?
    private(set) var expiresAtMs: Int64 = 0
    private(set) var isFetching = false
    private(set) var retryAtMs: Int64 = 0
    private var failures = Backoff(first: .seconds(1), most: .seconds(60))
    /// Waits after the endpoint refused the key. Somebody must correct the key, and a corrected key is a new one here,
    /// which does not wait.
    private var refusals = Backoff(first: .seconds(30), most: .milliseconds(longestWaitMs))
    private var refused: String?

    /// - Returns: the instruction for the push, and whether the caller must start a fetch.
    mutating func demand(nowMs: Int64) -> (Demand, mustFetch: Bool) {
        let isUsable = bearer != nil && nowMs < expiresAtMs - Self.useBeforeMs
        let isDue = bearer == nil || nowMs >= expiresAtMs - Self.renewBeforeMs
        let mustFetch = isDue && !isFetching && nowMs >= retryAtMs
        if mustFetch { isFetching = true }
        if isUsable, let bearer { return (.use(bearer), mustFetch) }
        if isFetching { return (.wait, mustFetch) }
        return (.none(retryAtMs: retryAtMs, refused: refused), false)
    }

    /// - Parameter lifeMs: `expires_in`.
    mutating func fetched(_ bearer: SharedBytes, lifeMs: Int64, nowMs: Int64) {
        self.bearer = bearer
        // A token whose life is shorter than these margins is used for a second.
        expiresAtMs = nowMs + max(lifeMs, Self.useBeforeMs + 1000)
        isFetching = false
        failures.succeeded()
        refusals.succeeded()
        retryAtMs = lifeMs < 2 * Self.renewBeforeMs ? nowMs + max(lifeMs / 2, 1000) : 0
        refused = nil
    }

    /// - Parameters:
    ///   - refused: the endpoint's `error` when it refused the key.
    ///   - random: in 0..<1.
    ///   - atLeastMs: the wait that the endpoint asked for.
    mutating func failed(refused: String?, nowMs: Int64, random: Double, atLeastMs: Int64 = 0) {
        isFetching = false
        self.refused = refused
        let wait = refused == nil ? failures.failed(random: random) : refusals.failed(random: random)
        retryAtMs = nowMs + max(wait.wholeMilliseconds, min(atLeastMs, Self.longestWaitMs))
    }

    /// The provider refused this token, so it is not used again. At most one extra fetch a minute is made, so that a
    /// wrong account causes no storm of requests.
    mutating func invalidate(_ refusedBearer: SharedBytes, nowMs: Int64) {
        guard bearer === refusedBearer else { return }
        bearer = nil
        expiresAtMs = 0
        retryAtMs = max(retryAtMs, lastInvalidatedMs + 60_000)
        lastInvalidatedMs = nowMs
    }
    private var lastInvalidatedMs: Int64 = -60_000
}
