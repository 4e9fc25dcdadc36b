public import ChallengeModel

/// One event for one webhook that has not been delivered yet. The store keeps it from the first failure on.
public struct WebhookDelivery: Sendable, Hashable {
    public enum State: String, Sendable, Hashable, CaseIterable {
        /// It is tried again.
        case waiting
        /// Every try of its 24 hours has failed, or the webhook's bound was reached.
        case exhausted
        /// The receiver refused this event for good (410, or `webhook-delivery: abort-message`).
        case aborted
        /// The webhook is disabled; a replay sends it.
        case held
    }

    /// 0 until the store has given it one; ascends with the order of insertion.
    public var id: Int64 = 0
    public let account: AccountSID
    public let service: ServiceSID
    public let webhook: WebhookSID
    /// The subject of the event. The events of a subject are delivered to a webhook one after the other.
    public let subject: String
    /// The partition of `events` that holds the events of this subject.
    public let partition: Int32
    public let eventID: String
    /// Without the prefix `beckon.`.
    public let eventType: String
    /// The value of the event's record, which is sent unchanged.
    public let event: [UInt8]
    public let traceparent: String?
    public var state = State.waiting
    /// When it is tried next, in epoch milliseconds; nil while an older event of its lane is waiting.
    public var dueMs: Int64?
    public var failures = 0
    /// Epoch milliseconds.
    public var firstFailureMs: Int64
    /// The last answer's status; 0: there was none.
    public var status = 0
    /// The debugger's code of the last failure; 0: it was not tried.
    public var code = 0
    /// A stable word for the last failure.
    public var reason = ""
    /// Epoch milliseconds.
    public var createdMs: Int64

    public init(
        account: AccountSID, service: ServiceSID, webhook: WebhookSID, subject: String, partition: Int32,
        eventID: String, eventType: String, event: [UInt8], traceparent: String?, nowMs: Int64
    ) {
        self.account = account
        self.service = service
        self.webhook = webhook
        self.subject = subject
        self.partition = partition
        self.eventID = eventID
        self.eventType = eventType
        self.event = event
        self.traceparent = traceparent
        firstFailureMs = nowMs
        createdMs = nowMs
    }
}

/// One request to a webhook, as its customer may read it.
public struct WebhookAttempt: Sendable, Hashable {
    public var id: Int64 = 0
    public let webhook: WebhookSID
    public let eventID: String
    public let eventType: String
    /// Epoch milliseconds.
    public let atMs: Int64
    public let tookMs: Int64
    /// The answer's status; 0: there was none.
    public let status: Int
    /// The debugger's code; 0: it was delivered.
    public let code: Int
    /// A stable word; empty: it was delivered.
    public let reason: String

    public init(
        webhook: WebhookSID, eventID: String, eventType: String, atMs: Int64, tookMs: Int64, status: Int, code: Int,
        reason: String
    ) {
        self.webhook = webhook
        self.eventID = eventID
        self.eventType = eventType
        self.atMs = atMs
        self.tookMs = tookMs
        self.status = status
        self.code = code
        self.reason = reason
    }
}

/// Which lanes of a webhook have stored events, for one partition of `events`.
public struct WebhookBacklog: Sendable, Hashable {
    public let partition: Int32
    public let account: AccountSID
    public let service: ServiceSID
    public let webhook: WebhookSID
    /// When the first of them is due. Epoch milliseconds.
    public let dueMs: Int64

    package init(partition: Int32, account: AccountSID, service: ServiceSID, webhook: WebhookSID, dueMs: Int64) {
        self.partition = partition
        self.account = account
        self.service = service
        self.webhook = webhook
        self.dueMs = dueMs
    }
}
