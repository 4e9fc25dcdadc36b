import Challenges

enum APIMethod: String, Sendable {
    case get = "GET"
    case post = "POST"
    case delete = "DELETE"
}

/// The roles of backends that may use an operation.
struct Roles: OptionSet, Sendable {
    let rawValue: UInt8

    static let full = Roles(rawValue: 1)
    static let send = Roles(rawValue: 2)
    static let enrol = Roles(rawValue: 4)
    static let read = Roles(rawValue: 8)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The roles that a key of this role has.
    init(of role: AccountRole) {
        switch role {
        case .full: self = .full
        case .send: self = .send
        case .enrol: self = .enrol
        case .sendAndEnrol: self = [.send, .enrol]
        case .read: self = .read
        }
    }

    func include(_ role: AccountRole) -> Bool { !isDisjoint(with: Roles(of: role)) }
}

/// One method of a resource: the callers that may use it, the way in which the request is read, and the handler.
/// ``Route/table`` contains all operations.
struct Operation: Sendable {
    /// The credentials of callers that are not backends.
    enum Device: Sendable {
        case none
        /// With the token of a factor of the path's identity.
        case identityToken
        /// With the token of the path's own factor.
        case factorToken
        /// With the access token of an enrolment.
        case accessToken
        /// No credentials: the receipt token in the body is the proof.
        case receiptToken
        /// A provider's server, which signs its call.
        case signature
        /// Anybody: the reply is public.
        case open

        var isToken: Bool { self == .identityToken || self == .factorToken }
        /// Whether the header `Authorization` is ignored.
        var isWithoutCredentials: Bool { self == .receiptToken || self == .signature || self == .open }
    }

    struct Traits: OptionSet, Sendable {
        let rawValue: UInt8

        /// The reply is a page of resources. An empty filter counts as omitted.
        static let list = Traits(rawValue: 1)
        /// The reply may wait for a change when the request asks for it.
        static let waits = Traits(rawValue: 2)
        /// `Idempotency-Key` has an effect. On other POSTs the reply says that the header was ignored, because a caller
        /// that relies on it and retries would perform the call twice.
        static let takesIdempotencyKey = Traits(rawValue: 4)
        /// The operation deletes the calling device, and with it the key that would prove the token of a repeated
        /// request.
        static let removesCaller = Traits(rawValue: 8)
    }

    typealias Handler = @Sendable (API, APICall) async throws -> APIReply

    let method: APIMethod
    let roles: Roles
    let device: Device
    let traits: Traits
    let handle: Handler

    /// A GET operation. By default, `full` and `read` may use it.
    static func get(
        _ roles: Roles = [.full, .read], _ device: Device = .none, _ traits: Traits = [], _ handle: @escaping Handler
    ) -> Operation {
        Operation(method: .get, roles: roles, device: device, traits: traits, handle: handle)
    }

    static func post(
        _ roles: Roles = .full, _ device: Device = .none, _ traits: Traits = [], _ handle: @escaping Handler
    ) -> Operation {
        Operation(method: .post, roles: roles, device: device, traits: traits, handle: handle)
    }

    static func delete(
        _ roles: Roles = .full, _ device: Device = .none, _ traits: Traits = [], _ handle: @escaping Handler
    ) -> Operation {
        Operation(method: .delete, roles: roles, device: device, traits: traits, handle: handle)
    }
}
