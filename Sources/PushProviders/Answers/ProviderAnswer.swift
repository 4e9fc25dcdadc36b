/// What a provider answered to one push, and what its folder needs to judge it.
package struct ProviderAnswer: Sendable {
    package var status: Int
    package var body: [UInt8]
    /// The header `Retry-After`; empty without one.
    package var retryAfter: [UInt8]
    /// The header that ``PushRequest/answerIDName`` names; empty without one.
    package var id: [UInt8]
    package var pushID: String
    /// Epoch milliseconds of the push token's registration; 0: not known.
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
