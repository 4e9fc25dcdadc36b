/// What an app keeps of pushes that arrive while it is closed: ids only, never texts, tokens or keys.
///
/// A notification extension adds, the app takes when it is opened and then fetches exactly those challenges. It is a value:
/// the app stores it where both can read it (a shared container), and guards it against both writing at once.
public struct ChallengeInbox: Sendable, Codable, Hashable {
    /// One challenge that waits for the app.
    public struct Entry: Sendable, Codable, Hashable {
        /// `YC…`.
        public var challengeSID: String
        /// `YF…`.
        public var factorSID: String
        /// Epoch milliseconds; nil when the push did not say.
        public var expiresAtMs: Int64?
        /// Epoch milliseconds of the first push.
        public var receivedAtMs: Int64
    }

    /// Entries without an expiry are kept for this long: no challenge lives longer than an hour.
    private static let longestLifeMs: Int64 = 3_600_000

    /// Most entries; the oldest makes room.
    public let capacity: Int
    /// In the order of arrival.
    public private(set) var entries: [Entry] = []

    /// - Parameter capacity: 1 to 1000.
    public init(capacity: Int = 32) { self.capacity = min(max(capacity, 1), 1000) }

    /// Keeps a push's ids.
    /// - Returns: true when the challenge is new; false when it is there already, or expired.
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

    /// Removes and returns what is not expired, in the order of arrival.
    public mutating func take(nowMs: Int64) -> [Entry] {
        removeExpired(nowMs: nowMs)
        defer { entries.removeAll() }
        return entries
    }

    /// Forgets a challenge, for instance after its answer.
    public mutating func remove(challengeSID: String) { entries.removeAll { $0.challengeSID == challengeSID } }

    /// Forgets what has expired.
    public mutating func removeExpired(nowMs: Int64) {
        entries.removeAll { ($0.expiresAtMs ?? $0.receivedAtMs + Self.longestLifeMs) <= nowMs }
    }
}
