/// The answer of a provider to one push, with the facts that the provider's folder needs to judge it.
package struct ProviderAnswer: Sendable {
    package var status: Int
    package var body: [UInt8]
    /// The header `Retry-After`; empty when it is missing.
    package var retryAfter: [UInt8]
    /// The header that ``PushRequest/answerIDName`` names; empty when it is missing.
    package var id: [UInt8]
    package var pushID: String
    /// Time of the push token's registration in epoch milliseconds; 0: unknown.
    package var registeredAtMs: Int64
    package var nowMs: Int64

    package init(
        status: Int, body: [UInt8], retryAfter: [UInt8], id: [UInt8], pushID: String, registeredAtMs: Int64,
        nowMs: Int64
    ) {
        self.status = status
        self.body = body
        self.retryAfter = retryAfter
        self.id = id
        self.pushID = pushID
        self.registeredAtMs = registeredAtMs
        self.nowMs = nowMs
    }
}
