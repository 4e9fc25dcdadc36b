/// What a customer's server answered, as far as it is looked at.
public struct HTTPAnswer: Sendable, Hashable {
    /// Bytes of the body that are kept.
    public static let keptBytes = 1024

    public let status: Int
    /// Seconds, from `Retry-After`; nil: there was none that can be read.
    public var retryAfter: Duration?
    /// `webhook-delivery`, lower case: `disable` or `abort-message`.
    public var delivery: String?
    /// `WebHook-Allowed-Origin` and `WebHook-Allowed-Rate`, as they were sent; at most 253 characters.
    public var allowedOrigin: String?
    public var allowedRate: String?
    /// The first ``keptBytes`` of the body.
    public var body: [UInt8] = []

    public init(status: Int) {
        self.status = status
    }
}
