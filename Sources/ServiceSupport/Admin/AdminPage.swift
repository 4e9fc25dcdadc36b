import ChallengeModel
import Logging
import Wire

/// A page of a role on its admin port: `GET /<path>/<name>`.
public struct AdminPage: Sendable {
    /// The path without slashes at its ends.
    public let path: String
    /// Answers a request; gets the last part of the URL.
    public let answer: @Sendable (String) async -> AdminReply

    public init(path: String, answer: @escaping @Sendable (String) async -> AdminReply) {
        self.path = path
        self.answer = answer
    }
}

public struct AdminReply: Sendable, Hashable {
    public let status: Int
    public let json: String

    public init(status: Int, json: String) {
        self.status = status
        self.json = json
    }

    /// `{"error":"…"}`; `message` is escaped.
    public static func error(_ status: Int, _ message: String) -> AdminReply {
        AdminReply(status: status, json: "{\"error\":\(JSONText.quoted(message))}")
    }
}

/// Decides who may see a role's pages: callers with the token, or, when no token is set, only callers on the same
/// machine. A pure value.
struct AdminAccess: Sendable {
    let host: String
    let token: String?

    /// The refusal; nil when the caller is allowed.
    func refusal(authorization: String?) -> AdminReply? {
        guard let token else {
            return Self.isLoopback(host)
                ? nil
                : .error(
                    403,
                    "the admin port is not on a loopback address and admin.token is missing: set BECKON_ADMIN_TOKEN")
        }
        guard let authorization, authorization.lowercased().hasPrefix("bearer ") else {
            return .error(401, "expected Authorization: Bearer <admin.token>")
        }
        return HMACComparison.equal(authorization.dropFirst(7).utf8, token.utf8)
            ? nil : .error(401, "the bearer token is not admin.token")
    }

    /// Refuses a page of a browser, which could reach a loopback address on behalf of any site. Browsers send `Origin`
    /// with every POST.
    func refusal(origin: String?) -> AdminReply? {
        origin == nil ? nil : .error(403, "a web page may not change anything here")
    }

    static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }
}

/// `GET /log/level` and `POST /log/level/<level>`.
struct LogLevelPage: Sendable {
    let level: LogLevel
    let logger: Logger

    func show() -> AdminReply {
        AdminReply(
            status: 200,
            json: "{\"level\":\"\(level.current.rawValue)\",\"configured\":\"\(level.ofConfiguration.rawValue)\"}")
    }

    func change(to name: String) -> AdminReply {
        guard let wanted = Logger.Level(rawValue: name) else {
            let names = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            return .error(400, "\(name.prefix(40)) is not a level; expected one of \(names)")
        }
        let former = level.current
        // The line is written while the lower of the two levels is in force, so that it is never lost.
        if wanted < former { level.set(wanted) }
        logger.log(
            level: max(.notice, min(former, wanted)), "the log level was changed",
            metadata: ["from": "\(former)", "to": "\(wanted)"])
        level.set(wanted)
        return show()
    }
}
