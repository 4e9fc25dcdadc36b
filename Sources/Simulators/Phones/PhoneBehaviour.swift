/// The behaviour of a simulated phone, its app and its person.
public enum PhoneBehaviour: Sendable, Hashable, Codable, CustomStringConvertible {
    /// The app shows and confirms the challenge; the person approves.
    case answers
    /// The app shows and confirms the challenge; the person denies.
    case denies
    /// The app shows and confirms the challenge; the person never answers. The sheet stays open until the challenge is
    /// over.
    case ignores
    /// Loses this number of visible pushes, and their background pushes, without a trace. After that it behaves like
    /// ``answers``.
    case drops(Int)
    /// Notifications are off. On APNs a visible push runs no code; a background push wakes the app, which confirms with
    /// `shown=no`, fetches and answers. A data message of FCM or HMS runs the app's code anyway. The app reports the
    /// setting with the first receipt, or when it is opened.
    case notificationsOff
    /// The app is closed: a visible push runs its notification extension, which stores the ids, confirms, and removes
    /// older notifications of the same action. The person answers only when the app is opened
    /// (``SimulatedPhone/open()``). Background pushes have no effect.
    case closed
    /// The phone gets no pushes. The app polls every second, and the person approves.
    case polls
    /// The app was deleted, and the provider knows this.
    case deleted
    /// Like ``answers``, but this number of milliseconds later.
    case slow(Int)
    /// The app shows the challenge but sends nothing: no receipt and no answer. With HMS, the provider's own receipt
    /// reports the arrival.
    case mute
    /// The phone is offline. The provider stores pushes as it does for a real phone.
    case offline
    /// The app shows and confirms the challenge, and answers with a signature by another key.
    case forges
    /// The app was deleted and installed again. It enrols again with a new key and the same push token, and then
    /// behaves like ``answers``.
    case reinstalls

    /// `answers`, `denies`, `ignores`, `drops:<count>`, `notifications-off`, `closed`, `polls`, `deleted`,
    /// `slow:<milliseconds>`, `offline`, `forges`, `reinstalls`, `mute`; nil for anything else. Counts go up to 1,000,
    /// milliseconds to 600,000.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        switch (parts.first, parts.count) {
        case ("answers", 1): self = .answers
        case ("denies", 1): self = .denies
        case ("ignores", 1): self = .ignores
        case ("notifications-off", 1): self = .notificationsOff
        case ("closed", 1): self = .closed
        case ("polls", 1): self = .polls
        case ("deleted", 1): self = .deleted
        case ("offline", 1): self = .offline
        case ("forges", 1): self = .forges
        case ("reinstalls", 1): self = .reinstalls
        case ("mute", 1): self = .mute
        case ("drops", 2):
            guard let count = Int(parts[1]), 0...1000 ~= count else { return nil }
            self = .drops(count)
        case ("slow", 2):
            guard let milliseconds = Int(parts[1]), 0...600_000 ~= milliseconds else { return nil }
            self = .slow(milliseconds)
        default: return nil
        }
    }

    /// All forms, for messages.
    public static let forms =
        "answers, denies, ignores, drops:<count>, notifications-off, closed, polls, deleted, slow:<ms>, offline, forges, reinstalls, mute"

    public var description: String {
        switch self {
        case .answers: "answers"
        case .denies: "denies"
        case .ignores: "ignores"
        case .drops(let count): "drops:\(count)"
        case .notificationsOff: "notifications-off"
        case .closed: "closed"
        case .polls: "polls"
        case .deleted: "deleted"
        case .slow(let milliseconds): "slow:\(milliseconds)"
        case .offline: "offline"
        case .forges: "forges"
        case .reinstalls: "reinstalls"
        case .mute: "mute"
        }
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let behaviour = PhoneBehaviour(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "expected one of \(Self.forms)")
        }
        self = behaviour
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
