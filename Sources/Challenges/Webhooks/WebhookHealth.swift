/// How a webhook fares, from its first failure after a success on. A pure value; times are epoch milliseconds.
///
/// The clock of failing starts at the first failed attempt after the last success. Every failed attempt counts, whether
/// or not its event is given up. Faults of our own network never count.
public struct WebhookHealth: Sendable, Hashable, Codable {
    /// A webhook is disabled after so long without one success, and so many failed attempts.
    public static let disableAfterMs: Int64 = 5 * 24 * 3_600_000
    public static let disableLeast = 20
    /// `webhook.failing` is emitted at so many failed attempts in a row.
    static let failingLeast = 4
    /// A receiver that has answered 410 for so long wants nothing any more.
    static let goneAfterMs: Int64 = 600_000
    /// `webhook.exhausted` is emitted once in so long, with a count.
    static let exhaustedEveryMs: Int64 = 3_600_000

    public internal(set) var failingSinceMs: Int64?
    /// Failed attempts since then.
    public internal(set) var failures = 0
    public internal(set) var lastSuccessMs: Int64?
    public internal(set) var lastFailureMs: Int64?
    public internal(set) var lastStatus = 0
    public internal(set) var lastCode = 0
    public internal(set) var lastReason = ""
    /// When it was disabled; nil: it is not.
    public internal(set) var disabledMs: Int64?
    /// `gone`, `receiver`, `failing`.
    public internal(set) var disabledReason: String?
    var isFailingTold = false
    var isWarned = false
    var goneSinceMs: Int64?
    /// Events given up since the last `webhook.exhausted`.
    var exhausted = 0
    var exhaustedToldMs: Int64 = 0

    public init() {}

    enum News: Sendable, Hashable {
        /// - Parameter isWarning: half of the time until it is disabled has passed.
        case failing(isWarning: Bool)
        case recovered
        case exhausted(count: Int)
        case disabled
    }

    /// An attempt has failed.
    /// - Parameter isDisabling: the receiver has asked to be disabled.
    mutating func fail(
        status: Int, code: Int, reason: String, isDisabling: Bool, nowMs: Int64
    ) -> [News] {
        var news: [News] = []
        failures += 1
        (lastStatus, lastCode, lastReason, lastFailureMs) = (status, code, reason, nowMs)
        // A clock that was set back starts anew.
        let since = min(failingSinceMs ?? nowMs, nowMs)
        failingSinceMs = since
        goneSinceMs = status == 410 ? min(goneSinceMs ?? nowMs, nowMs) : nil
        if !isFailingTold, failures >= Self.failingLeast {
            isFailingTold = true
            news.append(.failing(isWarning: false))
        }
        if !isWarned, nowMs - since >= Self.disableAfterMs / 2, failures >= Self.disableLeast / 2 {
            isWarned = true
            news.append(.failing(isWarning: true))
        }
        guard disabledMs == nil else { return news }
        if isDisabling {
            disabledReason = "receiver"
        } else if let goneSinceMs, nowMs - goneSinceMs >= Self.goneAfterMs {
            disabledReason = "gone"
        } else if nowMs - since >= Self.disableAfterMs, failures >= Self.disableLeast {
            disabledReason = "failing"
        } else {
            return news
        }
        disabledMs = nowMs
        news.append(.disabled)
        return news
    }

    mutating func succeed(nowMs: Int64) -> [News] {
        let wasTold = isFailingTold
        lastSuccessMs = nowMs
        failingSinceMs = nil
        goneSinceMs = nil
        failures = 0
        isFailingTold = false
        isWarned = false
        return wasTold ? [.recovered] : []
    }

    /// An event was given up.
    mutating func exhaust(nowMs: Int64) -> [News] {
        exhausted += 1
        guard nowMs - exhaustedToldMs >= Self.exhaustedEveryMs || nowMs < exhaustedToldMs else { return [] }
        defer { exhausted = 0 }
        exhaustedToldMs = nowMs
        return [.exhausted(count: exhausted)]
    }

    /// Its customer has enabled it again.
    mutating func enable() {
        let success = lastSuccessMs
        self = WebhookHealth()
        lastSuccessMs = success
    }
}
