/// A push that a look-alike accepted, as its phone gets it.
public struct SimulatedPush: Sendable, Codable, Hashable {
    public var provider: SimulatedProvider
    /// `apns-id`, FCM's `name`, or HMS's `requestId`.
    public var messageID: String
    public var pushToken: String
    /// APNs: the topic; FCM and HMS: the app that the token was registered for, empty when it is not known.
    public var appID: String
    /// `alert`, `background`; `data`, `notification`.
    public var pushType: String
    /// APNs' figure; FCM and HMS: 10 is high, 5 normal.
    public var priority: Int
    /// `apns-collapse-id` or `collapse_key`.
    public var collapseKey: String?
    /// Epoch milliseconds until which it is stored for a phone that is offline; 0: not stored; nil: as long as it
    /// takes.
    public var expiresAtMs: Int64?
    /// What APNs would show; nil with the others and without an alert.
    public var alert: String?
    /// Top-level strings beside `aps`, or `data`.
    public var values: [String: String]
    /// Epoch milliseconds.
    public var acceptedAtMs: Int64

    public init(
        provider: SimulatedProvider, messageID: String, pushToken: String, appID: String, pushType: String,
        priority: Int, collapseKey: String?, expiresAtMs: Int64?, alert: String?, values: [String: String],
        acceptedAtMs: Int64
    ) {
        self.provider = provider
        self.messageID = messageID
        self.pushToken = pushToken
        self.appID = appID
        self.pushType = pushType
        self.priority = priority
        self.collapseKey = collapseKey
        self.expiresAtMs = expiresAtMs
        self.alert = alert
        self.values = values
        self.acceptedAtMs = acceptedAtMs
    }
}

/// What became of a request to a look-alike.
public enum PushFate: String, Sendable, Codable, Hashable {
    /// Handed to a phone that is online.
    case delivered
    /// Kept for a phone that is offline.
    case stored
    /// Accepted, the phone is offline, and not kept.
    case notStored
    /// Accepted, and no phone has that token.
    case unclaimed
    /// Accepted and lost by a fault.
    case dropped
    /// Accepted, but the phone takes its pushes too slowly.
    case overflowed
    case refused
}

/// A line of the log of requests.
public struct PushRecord: Sendable, Codable, Hashable {
    /// Grows by one with each; gaps show what the bounded log no longer has.
    public var sequence: Int
    /// Epoch milliseconds.
    public var atMs: Int64
    public var provider: SimulatedProvider
    /// `apns-id`, FCM's `name`, or HMS's `requestId`; empty for FCM's refusals.
    public var messageID: String
    public var pushToken: String
    public var challengeSID: String
    public var dispatch: String
    public var kind: String
    /// HTTP status of the answer.
    public var status: Int
    /// The provider's word when it refused.
    public var reason: String
    public var fate: PushFate
    /// True when the same unit (device, challenge, dispatch, kind) was accepted before.
    public var isDuplicate: Bool
}

/// Exact counts since the start.
public struct PushCounters: Sendable, Codable, Hashable {
    public var accepted = 0
    public var refused = 0
    /// Requests that a fault left without an answer.
    public var silenced = 0
    public var refusedByReason: [String: Int] = [:]
    public var delivered = 0
    public var stored = 0
    public var notStored = 0
    public var unclaimed = 0
    public var dropped = 0
    public var overflowed = 0
    /// Stored pushes that a newer one of the same app took the place of.
    public var displaced = 0
    /// Stored pushes whose time was up when the phone came online.
    public var expiredInStore = 0
    /// Units (device, challenge, dispatch, kind; without a challenge: message ids) accepted more than once.
    public var duplicates = 0
    /// False when so many units were accepted that some were forgotten; then ``duplicates`` may be too low.
    public var duplicatesAreExact = true
    /// Accepted at or after the time that the push itself says it is good until; "now or never" counts as none.
    public var afterExpiry = 0
    public var connections = 0
    public var connectionsOpen = 0
    public var goAways = 0
    public var cuts = 0
    /// Streams refused because the connection had no authenticated answer yet.
    public var earlyStreams = 0
    /// HMS: delivery receipts that a callback took, and that none took in the end.
    public var receiptsTaken = 0
    public var receiptsRefused = 0

    public init() {}

    mutating func count(_ fate: PushFate) {
        switch fate {
        case .delivered: delivered += 1
        case .stored: stored += 1
        case .notStored: notStored += 1
        case .unclaimed: unclaimed += 1
        case .dropped: dropped += 1
        case .overflowed: overflowed += 1
        case .refused: refused += 1
        }
        if fate != .refused { accepted += 1 }
    }
}
