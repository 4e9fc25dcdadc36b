import Challenges

enum APIMethod: String, Sendable {
    case get = "GET"
    case post = "POST"
    case delete = "DELETE"
}

/// Roles of backends that an operation is for.
struct Roles: OptionSet, Sendable {
    let rawValue: UInt8

    static let full = Roles(rawValue: 1)
    static let send = Roles(rawValue: 2)
    static let enrol = Roles(rawValue: 4)
    static let read = Roles(rawValue: 8)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// What a key of this role counts as.
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

/// What can be done with a resource by one method: who may, how the request is read, and the handler. ``Route/table`` has them all.
struct Operation: Sendable {
    /// How somebody who is no backend calls.
    enum Device: Sendable {
        case none
        /// With the token of a factor of the path's identity.
        case identityToken
        /// With the token of the path's own factor.
        case factorToken
        /// With the access token of an enrolment.
        case accessToken
        /// Without credentials: the receipt token in the body proves all that counts.
        case receiptToken
        /// A provider's server, which signs its call.
        case signature

        var isToken: Bool { self == .identityToken || self == .factorToken }
        /// `Authorization` is not looked at.
        var isWithoutCredentials: Bool { self == .receiptToken || self == .signature }
    }

    struct Traits: OptionSet, Sendable {
        let rawValue: UInt8

        /// The reply is a page of resources; an empty filter stands for none.
        static let list = Traits(rawValue: 1)
        /// The reply may take until something happens, when the request asks for it.
        static let waits = Traits(rawValue: 2)
        /// `Idempotency-Key` counts. Elsewhere a POST with it is told that the header was ignored: whoever tries such a call again
        /// for the header's sake does it twice.
        static let takesIdempotencyKey = Traits(rawValue: 4)
        /// The device that calls is gone behind it, and with it what would prove the token of a repeated request.
        static let removesCaller = Traits(rawValue: 8)
    }

    typealias Handler = @Sendable (API, APICall) async throws -> APIReply

    let method: APIMethod
    let roles: Roles
    let device: Device
    let traits: Traits
    let handle: Handler

    /// Read by default: `full` and `read`.
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
