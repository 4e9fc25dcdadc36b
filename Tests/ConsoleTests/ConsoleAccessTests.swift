import HTTPEdge
import HTTPTypes
import NIOCore
import ServiceSupport
import Testing

@testable import Console

@Suite("Who may use the console")
struct ConsoleAccessTests {
    private static let operatorToken = "operator-operator-operator"
    private static let viewerToken = "viewer-viewer-viewer-viewer"
    private let now: Int64 = 1_700_000_000_000

    private func tokens() throws -> ConsoleTokens {
        try ConsoleTokens(operatorToken: Self.operatorToken, viewerToken: Self.viewerToken)
    }

    private func cookie(_ line: String) -> HTTPFields { [.cookie: String(line.prefix { $0 != ";" })] }

    @Test("a token signs in for eight hours, with the rights of the token")
    func signIn() throws {
        let tokens = try tokens()
        let line = try #require(tokens.cookie(for: Self.viewerToken, nowMs: now))
        for rule in ["__Host-", "HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=28800"] {
            #expect(line.contains(rule), "\(rule)")
        }
        #expect(!line.contains(Self.viewerToken))
        let reader = try #require(tokens.reader(cookie(line), nowMs: now + 7 * 3_600_000))
        #expect(!reader.mayAct && reader.canSignOut)
        #expect(tokens.reader(cookie(line), nowMs: now + 8 * 3_600_000) == nil, "its time is over")
        let operatorLine = try #require(tokens.cookie(for: Self.operatorToken, nowMs: now))
        #expect(tokens.reader(cookie(operatorLine), nowMs: now)?.mayAct == true)
        #expect(tokens.cookie(for: "neither-neither-neither-n", nowMs: now) == nil)
    }

    @Test("a cookie that was changed, made with another token, or promises more time is worth nothing")
    func forged() throws {
        let tokens = try tokens()
        let value = try #require(tokens.cookie(for: Self.operatorToken, nowMs: now)).prefix { $0 != ";" }
        let later = value.replacing("\(now / 1000 + 28_800)", with: "\(now / 1000 + 28_801)")
        #expect(later != value)
        let other = try ConsoleTokens(operatorToken: "another-another-another-a", viewerToken: nil)
        let foreign = try #require(other.cookie(for: "another-another-another-a", nowMs: now)).prefix { $0 != ";" }
        let dayLater = try #require(tokens.cookie(for: Self.operatorToken, nowMs: now + 86_400_000)).prefix {
            $0 != ";"
        }
        let bad = ["\(later)", "\(foreign)", "\(dayLater)", "\(value.dropLast())", "__Host-beckon-console=1.2.3"]
        for cookie in bad {
            #expect(tokens.reader([.cookie: cookie], nowMs: now) == nil, "\(cookie)")
        }
        let among = "a=b; \(value); c=d"
        #expect(tokens.reader([.cookie: among], nowMs: now)?.mayAct == true)
    }

    @Test("scripts send the token as Bearer; a wrong one is not saved by a good cookie")
    func bearer() throws {
        let tokens = try tokens()
        #expect(tokens.reader([.authorization: "Bearer \(Self.viewerToken)"], nowMs: now)?.mayAct == false)
        #expect(tokens.reader([.authorization: "bearer \(Self.operatorToken)"], nowMs: now)?.mayAct == true)
        var headers = cookie(try #require(tokens.cookie(for: Self.operatorToken, nowMs: now)))
        headers[.authorization] = "Bearer wrong"
        #expect(tokens.reader(headers, nowMs: now) == nil)
    }

    @Test("a console without tokens, or with the same for both, does not start")
    func missing() {
        #expect(throws: SettingsError.self) { try ConsoleTokens(operatorToken: nil, viewerToken: nil) }
        #expect(throws: SettingsError.self) {
            try ConsoleTokens(operatorToken: Self.viewerToken, viewerToken: Self.viewerToken)
        }
    }

    // MARK: - Proxy

    private func proxied(_ more: [String: String] = [:]) async throws -> ConsoleAccess {
        let settings = try await Settings(
            role: .console, arguments: [],
            environment: [
                "BECKON_CONSOLE_AUTHENTICATION": "proxy", "BECKON_CONSOLE_TRUSTED_PROXIES": "10.0.0.0/8",
                "BECKON_CONSOLE_OPERATOR_GROUP": "sre", "BECKON_CONSOLE_VIEWER_GROUP": "staff",
            ].merging(more) { $1 })
        return try ConsoleAccess(settings)
    }

    private func verdict(
        _ access: ConsoleAccess, from peer: String = "10.1.2.3", _ headers: [(String, String)]
    ) throws -> ConsoleAccess.Verdict {
        var fields = HTTPFields()
        for (name, value) in headers {
            fields.append(HTTPField(name: try #require(HTTPField.Name(name)), value: value))
        }
        return access.verdict(fields, peer: try SocketAddress(ipAddress: peer, port: 1), nowMs: now)
    }

    @Test("the proxy's headers count only from the proxy")
    func peers() async throws {
        let access = try await proxied()
        let headers = [("X-Forwarded-User", "ada"), ("X-Forwarded-Groups", "staff, sre")]
        #expect(try verdict(access, headers) == .allowed(Reader(name: "ada", mayAct: true)))
        guard case .refused = try verdict(access, from: "192.0.2.7", headers) else {
            Issue.record("another address was believed")
            return
        }
    }

    @Test("groups give the rights; no group, no rights")
    func groups() async throws {
        let access = try await proxied()
        #expect(
            try verdict(access, [("X-Forwarded-User", "bob"), ("X-Forwarded-Groups", "staff")])
                == .allowed(Reader(name: "bob", mayAct: false)))
        for headers in [
            [("X-Forwarded-User", "eve")], [("X-Forwarded-User", "eve"), ("X-Forwarded-Groups", "sre-interns")],
            [("X-Forwarded-Groups", "sre")], [("X-Forwarded-User", "")],
        ] {
            guard case .refused = try verdict(access, headers) else {
                Issue.record("\(headers) was allowed")
                continue
            }
        }
        let open = try await proxied(["BECKON_CONSOLE_VIEWER_GROUP": ""])
        #expect(try verdict(open, [("X-Forwarded-User", "eve")]) == .allowed(Reader(name: "eve", mayAct: false)))
    }

    @Test("a proxy that appends its header to the client's is refused")
    func appended() async throws {
        let access = try await proxied()
        guard
            case .refused = try verdict(
                access, [("X-Forwarded-User", "root"), ("X-Forwarded-User", "eve"), ("X-Forwarded-Groups", "sre")])
        else {
            Issue.record("two names were accepted")
            return
        }
        guard
            case .refused = try verdict(
                access, [("X-Forwarded-User", "eve"), ("X-Forwarded-Groups", "sre"), ("X-Forwarded-Groups", "staff")])
        else {
            Issue.record("two lists of groups were accepted")
            return
        }
    }

    @Test("a proxy without its addresses does not start")
    func noPeers() async throws {
        let settings = try await Settings(
            role: .console, arguments: ["--console-authentication", "proxy"], environment: [:])
        #expect(throws: SettingsError.self) { try ConsoleAccess(settings) }
    }
}
