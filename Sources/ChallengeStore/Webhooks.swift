public import ChallengeModel

/// Subscriptions of a service to its events. The Producer keeps them; posting events is the relay's.
public protocol WebhookStore: Sendable {
    /// - Throws: `notFound(.service)`, `limit(.webhooks)` at 100 in a service.
    func createWebhook(_ new: NewWebhook, nowMs: Int64) async throws -> Webhook
    func webhook(_ sid: WebhookSID, account: AccountSID, service: ServiceSID) async throws -> Webhook?
    func webhooks(account: AccountSID, service: ServiceSID, page: PageRequest) async throws -> Page<Webhook>
    /// - Throws: `notFound(.webhook)`.
    func updateWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, _ change: WebhookChange, nowMs: Int64
    ) async throws -> Webhook
    func deleteWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, nowMs: Int64
    ) async throws -> Bool
}

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

    public init(account: AccountSID, service: ServiceSID, friendlyName: String, eventTypes: [String], url: String) {
        self.account = account
        self.service = service
        self.friendlyName = friendlyName
        self.eventTypes = eventTypes
        self.url = url
    }
}

/// What is nil stays.
public struct WebhookChange: Sendable, Hashable {
    public var friendlyName: String?
    public var eventTypes: [String]?
    public var url: String?
    public var isEnabled: Bool?
    public var version: String?
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
}
