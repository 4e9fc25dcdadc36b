public import ChallengeModel

/// Something that went wrong behind the back of an account's own requests: a push that a provider refused, a challenge
/// that reached no device, a webhook that failed, an address that was refused.
///
/// One alert stands for all events of one cause within an hour, so that a storm makes one alert with a count.
public struct Alert: Sendable, Hashable {
    public enum Level: String, Sendable, Hashable, CaseIterable {
        case error, warning
    }

    /// `NO…`; ascends with the time of its creation.
    public let sid: AlertSID
    public let account: AccountSID
    /// Nil: it is about no service.
    public let service: ServiceSID?
    /// The SID of the challenge, credential or webhook that it is about: of the first event.
    public let resource: String
    public let level: Level
    /// The code of the API's debugger, 5 digits.
    public let code: Int
    /// One sentence for people.
    public let text: String
    public let details: AlertDetails
    /// How many events it stands for. Events that follow within a second of the last one that was counted are not.
    public var count = 1
    /// Of the first event, in epoch milliseconds.
    public let createdAtMs: Int64
    /// Of the last event that was counted.
    public var updatedAtMs: Int64

    package init(
        sid: AlertSID, account: AccountSID, service: ServiceSID?, resource: String, level: Level, code: Int,
        text: String, details: AlertDetails, createdAtMs: Int64
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.resource = resource
        self.level = level
        self.code = code
        self.text = text
        self.details = details
        self.createdAtMs = createdAtMs
        updatedAtMs = createdAtMs
    }
}

/// What is known of the first event of an alert. Every text is bounded and without control characters.
public struct AlertDetails: Sendable, Hashable, Codable {
    /// Of a webhook: the method and the URL that was requested, without query and fragment; nil: nothing was requested.
    public internal(set) var requestMethod: String?
    public internal(set) var requestURL: String?
    /// The status of the receiver's answer; nil: there was none.
    public internal(set) var responseStatus: Int?
    /// The first ``bodyLimit`` characters of the receiver's answer.
    public internal(set) var responseBody: String?
    /// Words by name, like `reason` and `factor_sid`.
    public internal(set) var words: [String: String] = [:]

    /// Characters of an answer's body that are kept.
    public static let bodyLimit = 1024

    package init() {}
}

/// Which alerts to list.
public struct AlertFilter: Sendable, Hashable {
    public let account: AccountSID
    public var level: Alert.Level?
    public var resource: String?
    /// Created at or after this time, in epoch milliseconds.
    public var fromMs: Int64 = 0
    /// Created before this time.
    public var untilMs: Int64 = .max

    public init(account: AccountSID) {
        self.account = account
    }
}

/// Where the alerts of an account are posted to.
public struct Debugger: Sendable, Hashable {
    public let account: AccountSID
    /// It takes the place of a webhook's SID in the relay.
    public let sid: WebhookSID
    public var url: String
    public let createdAtMs: Int64
    public var updatedAtMs: Int64

    package init(account: AccountSID, sid: WebhookSID, url: String, createdAtMs: Int64, updatedAtMs: Int64) {
        self.account = account
        self.sid = sid
        self.url = url
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
    }
}
