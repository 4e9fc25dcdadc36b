import DequeModule
import DeviceKit

/// What a phone does with one push, in order.
enum PhoneAction: Sendable, Hashable {
    /// Nothing of the app runs; why.
    case lose(String)
    /// The app runs and does nothing; why.
    case ignore(String)
    case wait(milliseconds: Int)
    /// The person sees a notification.
    case display
    /// Into the inbox.
    case keep
    case confirm(ReceiptChannel, ReceiptShown)
    case fetch
    case answer(approved: Bool)
    case forge
    /// The sheet stays open until the challenge is over.
    case watch
}

/// Decides what a phone does; the memory that an app keeps of challenges is in here. No I/O.
struct PhonePolicy: Sendable {
    private(set) var behaviour: PhoneBehaviour
    /// Whether somebody answers by hand (``SimulatedPhone/answer(_:approved:number:)``): nothing is answered otherwise.
    let isAttended: Bool
    private var visibleLost = 0
    private var lostDispatches = RecentSet()
    private var displayed = RecentSet()
    /// Challenges that are being answered or were.
    private var taken = RecentSet()

    init(_ behaviour: PhoneBehaviour, isAttended: Bool = false) {
        self.behaviour = behaviour
        self.isAttended = isAttended
    }

    mutating func become(_ behaviour: PhoneBehaviour) {
        self.behaviour = behaviour
        visibleLost = 0
    }

    /// Whether the app of an open challenge stands open in front of the person, who has not answered yet.
    var opensSheets: Bool {
        guard isAttended else { return behaviour == .ignores }
        return ![.closed, .notificationsOff, .offline, .deleted].contains(behaviour)
    }

    /// Notifications that the person saw: one per challenge, however often it was pushed.
    var displayedCount: Int { displayed.total }

    mutating func receive(_ push: PushMessage, _ provider: SimulatedProvider, nowMs: Int64) -> [PhoneAction] {
        let isVisible = push.kind == .visible
        // What the system does comes before what the app does, and it does not know the app's expiry.
        switch behaviour {
        case .drops(let count):
            let dispatch = "\(push.challengeSID) \(push.dispatch ?? "")"
            if isVisible, visibleLost < count {
                visibleLost += 1
                lostDispatches.insert(dispatch)
                return [.lose("push \(visibleLost) of \(count) to be lost")]
            }
            if lostDispatches.contains(dispatch) { return [.lose("with the visible push that was lost")] }
            // Ahead of its visible push, which is going to be lost.
            if !isVisible, visibleLost < count { return [.lose("before the visible push that will be lost")] }
        case .notificationsOff where isVisible && provider == .apn: return [.lose("notifications are off")]
        case .closed where !isVisible: return [.lose("the app is closed")]
        default: break
        }
        if push.isExpired(nowMs: nowMs) { return [.ignore("expired")] }
        return isVisible ? visible(push) : background(push)
    }

    private mutating func visible(_ push: PushMessage) -> [PhoneAction] {
        var actions: [PhoneAction] = []
        if case .slow(let milliseconds) = behaviour { actions.append(.wait(milliseconds: milliseconds)) }
        let showsNothing = behaviour == .notificationsOff
        if !showsNothing, displayed.insert(push.challengeSID) { actions.append(.display) }
        if behaviour == .mute { return actions }
        if behaviour == .closed { return actions + [.keep, .confirm(.visible, .yes)] }
        actions.append(.confirm(.visible, showsNothing ? .no : .yes))
        // Nobody opens the app for a notification that is not shown.
        if isAttended, showsNothing { return actions }
        if behaviour == .ignores || isAttended { return actions + [.watch] }
        return actions + answer(push.challengeSID)
    }

    private mutating func background(_ push: PushMessage) -> [PhoneAction] {
        switch behaviour {
        case .mute: return [.ignore("mute")]
        case .notificationsOff:
            return [.confirm(.background, .no)] + (isAttended ? [] : answer(push.challengeSID))
        case .slow(let milliseconds):
            return [.wait(milliseconds: milliseconds), .confirm(.background, shown(push))]
        // The visible push beside it is what the person answers.
        default: return [.confirm(.background, shown(push))]
        }
    }

    private func shown(_ push: PushMessage) -> ReceiptShown { displayed.contains(push.challengeSID) ? .yes : .unknown }

    /// The person's answer to a challenge that the app knows the SID of; nothing when it was answered before.
    mutating func answer(_ challengeSID: String) -> [PhoneAction] {
        if behaviour == .ignores || isAttended { return [.fetch, .watch] }
        guard taken.insert(challengeSID) else { return [.ignore("answered before")] }
        switch behaviour {
        case .denies: return [.fetch, .answer(approved: false)]
        case .forges: return [.fetch, .forge]
        default: return [.fetch, .answer(approved: true)]
        }
    }

    /// Nothing came of an answer: the next push tries again.
    mutating func failed(_ challengeSID: String) { taken.remove(challengeSID) }
}

/// The last thousand of something.
struct RecentSet: Sendable {
    private static let most = 1000
    private var members: Set<String> = []
    private var order: Deque<String> = []
    /// Inserted since the start.
    private(set) var total = 0

    func contains(_ member: String) -> Bool { members.contains(member) }

    /// False when it is there already.
    @discardableResult
    mutating func insert(_ member: String) -> Bool {
        guard members.insert(member).inserted else { return false }
        total += 1
        order.append(member)
        if order.count > Self.most, let oldest = order.popFirst() { members.remove(oldest) }
        return true
    }

    mutating func remove(_ member: String) {
        guard members.remove(member) != nil else { return }
        order.removeAll { $0 == member }
    }
}
