/// The challenges that an app shows: one of each action (see ``DeviceChallenge/actionID``), however many pushes and
/// challenges arrive. A value without I/O. Store it where the app and its notification extension can read it.
public struct ShownChallenges: Sendable, Codable, Hashable {
    /// The changes to make to notifications.
    public struct Change: Sendable, Hashable {
        /// Show the challenge.
        public var shows: Bool
        /// The notifications to remove: `YC…`.
        public var withdrawn: [String]
    }

    private struct Entry: Codable, Hashable {
        var sid: String
        /// The action; nil: none, or not known yet.
        var action: String?
    }

    /// Maximum number of entries. The oldest entry is removed to add another.
    private static let most = 100
    private var entries: [Entry] = []

    /// Nothing is shown.
    public init() {}

    /// The challenges that are shown: `YC…`, oldest first.
    public var sids: [String] { entries.map(\.sid) }

    /// Whether another challenge is shown. If so, fetch the challenge of a push before you show it.
    public func hasOthers(than sid: String) -> Bool { entries.contains { $0.sid != sid } }

    /// Call it when a push arrived and its challenge was not fetched.
    /// - Returns: false when the challenge is already shown.
    @discardableResult
    public mutating func pushed(_ sid: String) -> Bool {
        guard !entries.contains(where: { $0.sid == sid }) else { return false }
        add(Entry(sid: sid))
        return true
    }

    /// Call it with a challenge that was fetched. A pending challenge replaces the one that is shown for its action. A
    /// challenge that is over is removed.
    public mutating func fetched(_ challenge: DeviceChallenge) -> Change {
        let isShown = entries.contains { $0.sid == challenge.sid }
        entries.removeAll { $0.sid == challenge.sid }
        guard challenge.status == .pending else {
            return Change(shows: false, withdrawn: isShown ? [challenge.sid] : [])
        }
        let former = entries.filter { $0.action != nil && $0.action == challenge.actionID }.map(\.sid)
        entries.removeAll { former.contains($0.sid) }
        add(Entry(sid: challenge.sid, action: challenge.actionID))
        return Change(shows: !isShown, withdrawn: former)
    }

    /// Call it with the list of all pending challenges, which an app fetches when it is opened. Every other challenge
    /// is over.
    /// - Parameters:
    ///   - pending: from ``Device/pendingChallenges(pageSize:)``.
    ///   - before: the ``sids`` from before the list was requested. Challenges that arrived since then stay.
    /// - Returns: the notifications to remove: `YC…`.
    public mutating func listed(_ pending: [DeviceChallenge], of before: [String]) -> [String] {
        let over = sids.filter { sid in before.contains(sid) && !pending.contains { $0.sid == sid } }
        entries.removeAll { over.contains($0.sid) }
        return over
    }

    /// Removes a challenge that was answered on this device.
    public mutating func remove(_ sid: String) { entries.removeAll { $0.sid == sid } }

    private mutating func add(_ entry: Entry) {
        if entries.count >= Self.most { entries.removeFirst() }
        entries.append(entry)
    }
}

extension [DeviceChallenge] {
    /// Only the last challenge of each action, because a list of several pages may contain a challenge that was
    /// superseded during the reading.
    var lastOfEachAction: [DeviceChallenge] {
        let last = Dictionary(enumerated().compactMap { item in item.element.actionID.map { ($0, item.offset) } }) {
            $1
        }
        return enumerated().filter { item in
            item.element.actionID.map { last[$0] == item.offset } ?? true
        }.map(\.element)
    }
}
