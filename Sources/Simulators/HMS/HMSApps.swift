import DeviceKit
import Foundation
import Synchronization
import Wire

/// The apps of HMS that may send, and the access tokens that were handed to them. Source: Huawei, "OAuth 2.0-based
/// Authentication", client credentials.
final class HMSApps: Sendable {
    private struct Access {
        var app: String
        var untilSeconds: Int64
    }

    private struct State {
        var secrets: [String: String] = [:]
        var access: [String: Access] = [:]
        var granted = 0
        /// Grants of an app since the start of its window of 5 minutes.
        var windows: [String: (startSeconds: Int64, grants: Int)] = [:]
    }

    /// A refusal of the token endpoint: `error`, Huawei's `sub_error` beside it, and the HTTP status.
    struct Refusal: Error, Sendable, Hashable {
        var status = 400
        var error: Int
        var subError: Int
        var description: String

        var body: [UInt8] {
            JSONValue.object([
                ("error", .integer(Int64(error))), ("sub_error", .integer(Int64(subError))),
                ("error_description", .string(description)),
            ]).bytes
        }
    }

    /// Most access tokens that are remembered; past it the ones that have run out are forgotten, then all.
    private static let mostAccess = 10_000
    /// "1,000 access tokens every 5 minutes for each app".
    static let grantsPerWindow = 1000
    private static let windowSeconds: Int64 = 300

    private let state = Mutex(State())
    /// Of an access token, seconds.
    let accessLifeSeconds: Int64

    init(accessLifeSeconds: Int64) { self.accessLifeSeconds = accessLifeSeconds }

    func register(app: String, secret: String) { state.withLock { $0.secrets[app] = secret } }

    /// Forgets the app and what was granted to it.
    func revoke(app: String) {
        state.withLock { state in
            state.secrets[app] = nil
            state.access = state.access.filter { $0.value.app != app }
        }
    }

    /// Access tokens handed out so far.
    var granted: Int { state.withLock { $0.granted } }

    /// The app that a bearer may send for.
    func app(bearer authorization: String?, nowSeconds: Int64) throws(HMSResult) -> String {
        guard let authorization, authorization.hasPrefix("Bearer ") else { throw .unauthenticated }
        let token = String(authorization.dropFirst(7))
        guard let access = state.withLock({ $0.access[token] }) else { throw .unauthenticated }
        guard nowSeconds < access.untilSeconds else { throw .tokenExpired }
        return access.app
    }

    /// The token endpoint: a form with `grant_type`, `client_id` and `client_secret`.
    /// - Returns: the JSON reply.
    func grant(form: [UInt8], nowSeconds: Int64) throws(Refusal) -> [UInt8] {
        guard let fields = try? Form(form) else {
            throw Refusal(error: 1101, subError: 20001, description: "invalid request: the body is not a form")
        }
        func field(_ name: String) -> String { fields[name] ?? "" }
        guard field("grant_type") == "client_credentials" else {
            throw Refusal(error: 1101, subError: 20181, description: "invalid grant_type")
        }
        let (app, secret) = (field("client_id"), field("client_secret"))
        let token = "CgB6" + Base64URL.encode((0..<48).map { _ in UInt8.random(in: 0...255) })
        let life = accessLifeSeconds
        let refusal: Refusal? = state.withLock { state in
            guard let known = state.secrets[app] else {
                return Refusal(error: 1101, subError: 20151, description: "invalid client_id")
            }
            guard known == secret else {
                return Refusal(error: 1101, subError: 20002, description: "invalid client_secret")
            }
            var window = state.windows[app] ?? (nowSeconds, 0)
            if nowSeconds >= window.startSeconds + Self.windowSeconds { window = (nowSeconds, 0) }
            guard window.grants < Self.grantsPerWindow else {
                return Refusal(status: 503, error: 1203, subError: 50001, description: "flow control")
            }
            window.grants += 1
            state.windows[app] = window
            if state.access.count >= Self.mostAccess {
                state.access = state.access.filter { $0.value.untilSeconds > nowSeconds }
                if state.access.count >= Self.mostAccess { state.access.removeAll() }
            }
            state.access[token] = Access(app: app, untilSeconds: nowSeconds + life)
            state.granted += 1
            return nil
        }
        if let refusal { throw refusal }
        return AccessTokenReply.body(token: token, lifeSeconds: life)
    }
}
