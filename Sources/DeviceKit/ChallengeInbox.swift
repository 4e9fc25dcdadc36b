/// The ids that an app stores of pushes that arrive while it is closed. It contains no texts, tokens or keys.
/// A notification extension adds entries. When the app is opened, it takes them and fetches exactly these challenges.
/// It is a value: the app stores it where both can read it (a shared container), and prevents both from writing at the
/// same time.
public struct ChallengeInbox: Sendable, Codable, Hashable {
    /// A challenge that waits for the app.
    public struct Entry: Sendable, Codable, Hashable {
        /// `YC…`.
        public var challengeSID: String
        /// `YF…`.
        public var factorSID: String
        /// Expiry in epoch milliseconds; nil when the push had none.
        public var expiresAtMs: Int64?
        /// Arrival of the first push in epoch milliseconds.
        public var receivedAtMs: Int64
    }

    /// Entries without an expiry are kept for this long: no challenge lives longer than an hour.
    private static let longestLifeMs: Int64 = 3_600_000

    /// Maximum number of entries. The oldest entry is removed to add another.
    public let capacity: Int
    /// The entries in order of arrival.
    public private(set) var entries: [Entry] = []

    /// - Parameter capacity: 1 to 1000.
    public init(capacity: Int = 32) { self.capacity = min(max(capacity, 1), 1000) }

    /// Adds the ids of a push.
    /// - Returns: true when the challenge is new; false when it is already in the inbox, or has expired.
    @discardableResult
    public mutating func add(_ push: PushMessage, nowMs: Int64) -> Bool {
        removeExpired(nowMs: nowMs)
        guard !push.isExpired(nowMs: nowMs), !entries.contains(where: { $0.challengeSID == push.challengeSID }) else {
            return false
        }
        if entries.count >= capacity { entries.removeFirst(entries.count - capacity + 1) }
        entries.append(
            Entry(
                challengeSID: push.challengeSID, factorSID: push.factorSID, expiresAtMs: push.expiresAtMs,
                receivedAtMs: nowMs))
        return true
    }

    /// Removes all entries, and returns those that have not expired, in order of arrival.
    public mutating func take(nowMs: Int64) -> [Entry] {
        removeExpired(nowMs: nowMs)
        defer { entries.removeAll() }
        return entries
    }

    /// Removes a challenge, for example after its answer.
    public mutating func remove(challengeSID: String) { entries.removeAll { $0.challengeSID == challengeSID } }

    /// Removes expired entries.
    public mutating func removeExpired(nowMs: Int64) {
        entries.removeAll { ($0.expiresAtMs ?? $0.receivedAtMs + Self.longestLifeMs) <= nowMs }
    }
}
