public import ChallengeModel

public struct NewWebhook: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var friendlyName: String
    /// `*`, or types as ``EventType`` spells them.
    public var eventTypes: [String]
    public var url: String
    public var isEnabled = true
    /// `v1` or `v2`: which members an event has.
    public var version = "v2"
    public var format = WebhookFormat.form
    /// The receiver must consent before events are sent to it.
    public var needsConsent = false

    public init(account: AccountSID, service: ServiceSID, friendlyName: String, eventTypes: [String], url: String) {
        self.account = account
        self.service = service
        self.friendlyName = friendlyName
        self.eventTypes = eventTypes
        self.url = url
    }
}

/// A member that is nil leaves its setting unchanged.
public struct WebhookChange: Sendable, Hashable {
    public var friendlyName: String?
    public var eventTypes: [String]?
    public var url: String?
    public var isEnabled: Bool?
    public var version: String?
    public var format: WebhookFormat?
    public var needsConsent: Bool?
    public init() {}
}

public struct Webhook: Sendable, Hashable {
    public let sid: WebhookSID
    public let account: AccountSID
    public let service: ServiceSID
    public var friendlyName: String
    public var eventTypes: [String]
    public var url: String
    public var isEnabled: Bool
    public var version: String
    public let createdAtMs: Int64
    public var updatedAtMs: Int64

    package init(
        sid: WebhookSID, account: AccountSID, service: ServiceSID, friendlyName: String, eventTypes: [String],
        url: String, isEnabled: Bool, version: String, createdAtMs: Int64, updatedAtMs: Int64
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.friendlyName = friendlyName
        self.eventTypes = eventTypes
        self.url = url
        self.isEnabled = isEnabled
        self.version = version
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
    }
}
