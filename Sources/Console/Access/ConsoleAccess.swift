import ChallengeModel
import HTTPEdge
import HTTPTypes
import NIOCore
public import ServiceSupport

/// Who may use the console: one of three ways, chosen at the start.
public enum ConsoleAccess: Sendable {
    /// Everybody may act. Only for `beckon dev`, which listens on loopback.
    case development
    /// People type a token, and a cookie remembers it; scripts send it as Bearer.
    case tokens(ConsoleTokens)
    /// A proxy has authenticated them, and says in headers who they are.
    case proxy(ProxyHeaders)

    /// What an authenticating proxy sends.
    public struct ProxyHeaders: Sendable {
        var peers: TrustedProxies
        var user: HTTPField.Name
        var groups: HTTPField.Name
        var operatorGroup: String?
        var viewerGroup: String?
    }

    /// Reads the way from the settings.
    /// - Throws: `SettingsError` for a way whose settings are missing.
    public init(_ settings: Settings) throws(SettingsError) {
        guard try settings(Settings.consoleAuthentication) == "proxy" else {
            self = .tokens(
                try ConsoleTokens(
                    operatorToken: try settings.optional(Settings.consoleOperatorToken),
                    viewerToken: try settings.optional(Settings.consoleViewerToken)))
            return
        }
        guard let text = try settings.optional(Settings.consoleTrustedProxies),
            let peers = TrustedProxies(parsing: text)
        else {
            throw SettingsError(
                "console.trustedProxies: expected addresses or networks, 10.0.0.0/8,fd00::/8, because console.authentication is proxy"
            )
        }
        func header(_ setting: Setting<String>) throws(SettingsError) -> HTTPField.Name {
            let text = try settings(setting)
            guard let name = HTTPField.Name(text) else {
                throw SettingsError("\(setting.description.key): expected the name of a header, got \"\(text)\"")
            }
            return name
        }
        self = .proxy(
            ProxyHeaders(
                peers: peers, user: try header(Settings.consoleUserHeader),
                groups: try header(Settings.consoleGroupsHeader),
                operatorGroup: try settings.optional(Settings.consoleOperatorGroup),
                viewerGroup: try settings.optional(Settings.consoleViewerGroup)))
    }

    /// What a request is allowed to do.
    enum Verdict: Sendable, Hashable {
        case allowed(Reader)
        /// The form that asks for the token.
        case mustSignIn
        case refused(String)
    }

    func verdict(_ headers: HTTPFields, peer: SocketAddress?, nowMs: Int64) -> Verdict {
        switch self {
        case .development: return .allowed(Reader(name: "developer", mayAct: true))
        case .tokens(let tokens): return tokens.reader(headers, nowMs: nowMs).map { .allowed($0) } ?? .mustSignIn
        case .proxy(let proxy): return proxy.verdict(headers, peer: peer)
        }
    }
}

extension ConsoleAccess.ProxyHeaders {
    func verdict(_ headers: HTTPFields, peer: SocketAddress?) -> ConsoleAccess.Verdict {
        guard peers.contains(peer) else {
            return .refused("This console is reached through its proxy. The request came from another address.")
        }
        // Two values: the proxy appended its own to that of the client, and nobody knows which is which.
        guard headers[values: user].count == 1, headers[values: groups].count <= 1,
            let name = headers[user], !name.isEmpty, name.utf8.count <= 200
        else {
            return .refused("The proxy must send \(user.rawName) exactly once, with the name of the person.")
        }
        let groups = Set(
            (headers[groups] ?? "").split(separator: ",").map { $0.trimmingPrefix(while: \.isWhitespace) }.map {
                String($0.reversed().drop(while: \.isWhitespace).reversed())
            })
        if let operatorGroup, groups.contains(operatorGroup) { return .allowed(Reader(name: name, mayAct: true)) }
        guard let viewerGroup, !groups.contains(viewerGroup) else {
            return .allowed(Reader(name: name, mayAct: false))
        }
        return .refused("\(name) belongs to no group that may see this console.")
    }
}
