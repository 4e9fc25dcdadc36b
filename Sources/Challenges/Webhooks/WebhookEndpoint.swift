public import ChallengeModel
import Foundation

/// What the relay knows of a webhook beside its subscription: what it posts, what signs it, and how it fares.
public struct WebhookEndpoint: Sendable, Hashable {
    public let sid: WebhookSID
    public let account: AccountSID
    public let service: ServiceSID
    public var format = WebhookFormat.form
    public var health = WebhookHealth()
    package var secret: SealedValue?
    package var formerSecret: SealedValue?
    /// Until when the former secret signs as well. Epoch milliseconds.
    package var formerUntilMs: Int64 = 0

    package init(sid: WebhookSID, account: AccountSID, service: ServiceSID) {
        self.sid = sid
        self.account = account
        self.service = service
    }
}

/// A webhook with everything that the relay needs to post to it. Holds secrets: never logged.
public struct WebhookRoute: Sendable {
    public let webhook: Webhook
    public let format: WebhookFormat
    public let health: WebhookHealth
    /// The account's present auth token.
    public let authToken: String
    /// The webhook's present secret and, while it is valid, the former one; 32 bytes each.
    public let secrets: [[UInt8]]
    /// The receiver must consent before events are sent to it.
    public var needsConsent = false

    /// Whether events are sent: its customer wants them, and Beckon has not disabled it.
    public var isServed: Bool { webhook.isEnabled && health.disabledMs == nil }

    /// Whether its customer subscribed to events of this type.
    /// - Parameter type: without the prefix `beckon.`.
    public func wants(_ type: String) -> Bool {
        webhook.eventTypes.contains { $0 == "*" || $0 == type }
    }
}
