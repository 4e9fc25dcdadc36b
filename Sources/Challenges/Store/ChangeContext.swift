/// On whose behalf the current task changes the store. Set where a caller is known, read where a change is written, so that the
/// trail is a row of the change's own transaction.
public struct ChangeContext: Sendable {
    /// See ``AuditEvent/actor``. At most 64 bytes are kept.
    public var actor: String
    /// `RQ…`.
    public var requestID: String?
    /// The client's address.
    public var address: String?
    /// When a device asked for the change.
    public var deviceRequest: DeviceRequest?
    /// The device has sent this very request before.
    var isRepeated = false

    public init(
        actor: String = "system", requestID: String? = nil, address: String? = nil, deviceRequest: DeviceRequest? = nil
    ) {
        self.address = address
        self.actor = actor
        self.requestID = requestID
        self.deviceRequest = deviceRequest
    }

    @TaskLocal public static var current = ChangeContext()
}

/// A request that changes something, under a token that is good for one such request. The first write of the request claims
/// the token in its own transaction: two requests under one token cannot both change something, and a crash leaves neither or
/// both of claim and change.
public struct DeviceRequest: Sendable, Hashable {
    /// SHA-256 that stands for the token, however its signature is written.
    public let fingerprint: [UInt8]
    /// SHA-256 over method, path, query and body.
    public let request: [UInt8]
    /// When the token ends by itself. Epoch milliseconds.
    public let expiresAtMs: Int64

    public init(fingerprint: [UInt8], request: [UInt8], expiresAtMs: Int64) {
        self.fingerprint = fingerprint
        self.request = request
        self.expiresAtMs = expiresAtMs
    }
}
