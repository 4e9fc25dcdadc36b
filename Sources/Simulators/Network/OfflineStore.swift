import DequeModule

/// What a provider keeps for one device while it is offline. The rules are the providers': APNs keeps one notification
/// per app, the latest, until its `apns-expiration`, and none with 0; FCM keeps up to 100 messages until their ttl, one
/// per collapse key, and none with ttl 0; past the bound it throws all away; HMS keeps up to 120 until their ttl, one
/// per collapse key, and past the bound the latest.
struct OfflineStore: Sendable {
    enum Outcome: Sendable, Hashable {
        case stored
        /// Stored in the place of so many others.
        case displaced(Int)
        case notStored
    }

    /// "There is a limit of 100 messages that can be stored without collapsing." (Firebase, lifetime of a message)
    static let mostFCM = 100

    /// "A maximum of 120 offline messages are cached." (Huawei, receipt status 15)
    static let mostHMS = 120

    private(set) var pushes: Deque<SimulatedPush> = []

    mutating func store(_ push: SimulatedPush, nowMs: Int64) -> Outcome {
        if let expiry = push.expiresAtMs, expiry <= nowMs { return .notStored }
        switch push.provider {
        case .apn:
            let others = pushes.count
            pushes.removeAll { $0.appID == push.appID }
            let displaced = others - pushes.count
            pushes.append(push)
            return displaced > 0 ? .displaced(displaced) : .stored
        case .fcm:
            var displaced = 0
            if let key = push.collapseKey {
                let others = pushes.count
                pushes.removeAll { $0.collapseKey == key }
                displaced = others - pushes.count
            }
            if pushes.count >= Self.mostFCM {
                displaced += pushes.count
                pushes.removeAll()
            }
            pushes.append(push)
            return displaced > 0 ? .displaced(displaced) : .stored
        case .hms:
            let others = pushes.count
            if let key = push.collapseKey { pushes.removeAll { $0.collapseKey == key && $0.appID == push.appID } }
            if pushes.count >= Self.mostHMS { pushes.removeFirst() }
            let displaced = others - pushes.count
            pushes.append(push)
            return displaced > 0 ? .displaced(displaced) : .stored
        }
    }

    /// Hands out what is still good, in the order of arrival.
    mutating func take(nowMs: Int64) -> (pushes: [SimulatedPush], expired: Int) {
        let good = pushes.filter { ($0.expiresAtMs ?? .max) > nowMs }
        let expired = pushes.count - good.count
        pushes.removeAll()
        return (Array(good), expired)
    }
}
