import ChallengeModel
import Challenges
import Wire

/// The credentials in the header `Authorization`.
enum PresentedCredentials: Sendable {
    case backend(Login)
    /// Credentials with the user name `token`.
    case device(PresentedToken)

    /// Nil when the header is missing, has another scheme or invalid base64, or the user name is neither an account or
    /// key SID nor `token`.
    init?(authorization header: String?) {
        guard let header, header.utf8.count <= 24 * 1024, let space = header.utf8.firstIndex(of: UInt8(ascii: " ")),
            header[..<space].lowercased() == "basic",
            let bytes = Base64.decode(header[header.index(after: space)...].trimmingSpaces()),
            let text = String(validating: bytes, as: UTF8.self),
            let colon = text.utf8.firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        let user = text[..<colon]
        let password = String(text[text.index(after: colon)...])
        guard !password.isEmpty else { return nil }
        if user == "token" {
            self = .device(PresentedToken(password))
        } else if let account = AccountSID(user) {
            self = .backend(.account(account, authToken: password))
        } else if let key = APIKeySID(user) {
            self = .backend(.key(key, secret: password))
        } else {
            return nil
        }
    }
}

/// The password of a device: its JWT or an access token, depending on the operation.
struct PresentedToken: Sendable {
    let text: String
    /// The password as a JWT. It is parsed once here and not verified yet. An error when it is not a JWT, as for an
    /// access token.
    let token: Result<DeviceToken, APIError>

    init(_ text: String) {
        self.text = text
        token = Result { () throws(APIError) in try DeviceToken(text) }
    }
}

extension Substring {
    /// The text without spaces at its ends.
    fileprivate func trimmingSpaces() -> Substring {
        var text = self
        while text.utf8.first == UInt8(ascii: " ") { text.removeFirst() }
        while text.utf8.last == UInt8(ascii: " ") { text.removeLast() }
        return text
    }
}

/// An access token in the form for devices: the account before the store's secret, because the path of a factor's
/// creation names the service but not the account.
enum AccessTokenText {
    static func make(account: AccountSID, secret: String) -> String { "\(account).\(secret)" }

    static func split(_ text: String) -> (account: AccountSID, secret: String)? {
        guard text.utf8.count <= 4096, let dot = text.firstIndex(of: "."), let account = AccountSID(text[..<dot]) else {
            return nil
        }
        let secret = text[text.index(after: dot)...]
        return secret.isEmpty ? nil : (account, String(secret))
    }
}

/// The authenticated caller.
enum Caller: Sendable {
    case backend(Principal)
    case device(Factor)

    var account: AccountSID {
        switch self {
        case .backend(let principal): principal.account
        case .device(let factor): factor.account
        }
    }

    /// The factor of a device; nil for a backend.
    var factor: Factor? { if case .device(let factor) = self { factor } else { nil } }
}

struct Authenticator: Sendable {
    let store: ChallengeStore
    let metrics: ProducerMetrics

    /// - Throws: 20003 (401).
    func principal(_ login: Login, nowMs: Int64) async throws -> Principal {
        guard let principal = try await store.authenticate(login, nowMs: nowMs) else {
            metrics.authenticationFailed(.backend)
            throw APIError(
                .authentication,
                "Authenticate: the auth token is not that of the account SID, or the secret is not that of the API key"
            )
        }
        return principal
    }

    /// The account of a backend.
    /// - Throws: 20003 (401).
    func backend(_ call: APICall) throws -> AccountSID {
        guard case .backend(let principal) = call.caller else { throw unidentified() }
        return principal.account
    }

    private func unidentified() -> APIError {
        metrics.authenticationFailed(.backend)
        return APIError(
            .authentication, "Authenticate: expected Basic with the account SID and its auth token, or an API key (SK…)"
        )
    }

    /// - Parameters:
    ///   - service, identity: the values of the path. The factor must belong to them.
    ///   - factor: the factor in the path, if there is one. It must be the token's own.
    ///   - known: the factor whose key has already verified this token, while the same request waits. The signature is
    ///     not verified again.
    /// - Throws: one of 20151 to 20160 (401).
    func device(
        _ presented: PresentedToken, service: ServiceSID, identity: String, factor path: FactorSID? = nil,
        known: Factor? = nil, nowMs: Int64
    ) async throws -> Factor {
        do {
            let token = try presented.token.get()
            guard let factor = try await store.factor(keyID: token.keyID) else {
                throw APIError(.deviceUnknown, "Authentication failed: no factor has this kid")
            }
            try token.check(factor: factor, isSignatureKnown: known?.publicKey == factor.publicKey, nowMs: nowMs)
            let isOwn =
                factor.service == service && (path == nil || path == factor.sid)
                && (StorePolicy.isSameIdentity(factor.identity, identity) || factor.entity.rawValue == identity)
            guard isOwn else {
                throw APIError(.deviceUnknown, "Authentication failed: the path does not belong to the factor")
            }
            return factor
        } catch let error as APIError {
            metrics.authenticationFailed(.device)
            throw error
        }
    }

    /// A backend, or a device under its own path.
    func caller(_ call: APICall) throws -> Caller {
        guard let caller = call.caller else { throw unidentified() }
        return caller
    }
}
