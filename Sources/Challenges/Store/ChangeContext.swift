/// The caller on whose behalf the current task changes the store. It is set where the caller is known and read where
/// the change is written, so that the audit event is a row of the same transaction.
public struct ChangeContext: Sendable {
    /// See ``AuditEvent/actor``. At most 64 bytes are stored.
    public var actor: String
    /// The request id, `RQ…`.
    public var requestID: String?
    /// The client's address.
    public var address: String?
    /// The device's request, when a device makes the change.
    public var tokenUse: TokenUse?
    /// True when the device has sent exactly this request before.
    var isRepeated = false

    public init(
        actor: String = "system", requestID: String? = nil, address: String? = nil, tokenUse: TokenUse? = nil
    ) {
        self.address = address
        self.actor = actor
        self.requestID = requestID
        self.tokenUse = tokenUse
    }

    @TaskLocal public static var current = ChangeContext()
}

/// A request of a device that changes something, with a token that is valid for one such request. The first write of
/// the request claims the token in its own transaction. Two requests with one token therefore cannot both change
/// something, and after a crash either both claim and change exist or neither.
public struct TokenUse: Sendable, Hashable {
    /// SHA-256 that identifies the token, independent of the encoding of its signature.
    public let fingerprint: [UInt8]
    /// SHA-256 over method, path, query and body.
    public let request: [UInt8]
    /// Expiry of the token in epoch milliseconds.
    public let expiresAtMs: Int64

    public init(fingerprint: [UInt8], request: [UInt8], expiresAtMs: Int64) {
        self.fingerprint = fingerprint
        self.request = request
        self.expiresAtMs = expiresAtMs
    }
}
