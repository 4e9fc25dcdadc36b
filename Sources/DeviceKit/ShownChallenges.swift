/// Which challenges an app shows: one of each action (see ``DeviceChallenge/actionID``), however many pushes and challenges it
/// takes. A value without I/O, to be stored where the app and its notification extension read it.
public struct ShownChallenges: Sendable, Codable, Hashable {
    /// What to do with notifications.
    public struct Change: Sendable, Hashable {
        /// Show the challenge.
        public var shows: Bool
        /// Take these away: `YC…`.
        public var withdrawn: [String]
    }

    private struct Entry: Codable, Hashable {
        var sid: String
        /// Nil: none, or not known yet.
        var action: String?
    }

    /// Most entries; the oldest makes room.
    private static let most = 100
    private var entries: [Entry] = []

    public init() {}

    public var sids: [String] { entries.map(\.sid) }

    /// Whether something else is shown, so that the challenge of a push is to be fetched before it is shown.
    public func hasOthers(than sid: String) -> Bool { entries.contains { $0.sid != sid } }

    /// A push arrived, and its challenge was not fetched.
    /// - Returns: false when it is shown already.
    @discardableResult
    public mutating func pushed(_ sid: String) -> Bool {
        guard !entries.contains(where: { $0.sid == sid }) else { return false }
        add(Entry(sid: sid))
        return true
    }

    /// A challenge as the server has it now: the one that is pending stands for its action, and what is over is taken away.
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

    /// The list of all that is pending, as an app asks for it when it is opened: what is not in it is over.
    /// - Parameters:
    ///   - pending: from ``Device/pendingChallenges(pageSize:)``.
    ///   - before: ``sids`` from before it was asked for; what came since stays.
    /// - Returns: to be taken away: `YC…`.
    public mutating func listed(_ pending: [DeviceChallenge], of before: [String]) -> [String] {
        let over = sids.filter { sid in before.contains(sid) && !pending.contains { $0.sid == sid } }
        entries.removeAll { over.contains($0.sid) }
        return over
    }

    /// It was answered here.
    public mutating func remove(_ sid: String) { entries.removeAll { $0.sid == sid } }

    private mutating func add(_ entry: Entry) {
        if entries.count >= Self.most { entries.removeFirst() }
        entries.append(entry)
    }
}

extension [DeviceChallenge] {
    /// Of each action the last: a list that was read over several pages may hold one that was superseded meanwhile.
    var lastOfEachAction: [DeviceChallenge] {
        let last = Dictionary(enumerated().compactMap { item in item.element.actionID.map { ($0, item.offset) } }) {
            $1
        }
        return enumerated().filter { item in
            item.element.actionID.map { last[$0] == item.offset } ?? true
        }.map(\.element)
    }
}
