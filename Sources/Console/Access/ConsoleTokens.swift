import ChallengeModel
import Crypto
import Foundation
import HTTPTypes
import ServiceSupport
import Wire

/// The tokens of operators and viewers, and the cookie of somebody who typed one.
public struct ConsoleTokens: Sendable {
    private struct Token: Sendable {
        let text: String
        let mayAct: Bool
        /// Signs this token's cookies. It is derived from the token, so that every console accepts the cookies of the
        /// others, and a new token ends all sessions of the old one.
        let cookieKey: SymmetricKey
    }

    /// `__Host-` keeps other hosts of the domain from setting it.
    static let cookieName = "__Host-beckon-console"
    /// A working day.
    static let lifeSeconds: Int64 = 8 * 3600

    private let tokens: [Token]

    /// - Throws: `SettingsError` when there is none, or both are the same.
    init(operatorToken: String?, viewerToken: String?) throws(SettingsError) {
        guard operatorToken != nil || viewerToken != nil else {
            throw SettingsError(
                "console.operatorToken and console.viewerToken are missing: set BECKON_CONSOLE_OPERATOR_TOKEN or BECKON_CONSOLE_VIEWER_TOKEN to a text of at least 24 characters, because console.authentication is token"
            )
        }
        guard operatorToken != viewerToken else {
            throw SettingsError("console.viewerToken: expected another text than that of console.operatorToken")
        }
        tokens = [(operatorToken, true), (viewerToken, false)].compactMap { text, mayAct in
            text.map {
                Token(
                    text: $0, mayAct: mayAct,
                    cookieKey: HKDF<SHA256>.deriveKey(
                        inputKeyMaterial: SymmetricKey(data: Data($0.utf8)), info: Data("beckon console cookie".utf8),
                        outputByteCount: 32))
            }
        }
    }

    /// Whom a request is from: the Bearer token, else the cookie; nil: neither is good.
    func reader(_ headers: HTTPFields, nowMs: Int64) -> Reader? {
        if let bearer = Self.bearer(headers) {
            return token(bearer).map { Reader(name: Self.name($0.mayAct), mayAct: $0.mayAct) }
        }
        for line in headers[values: .cookie] {
            for pair in line.split(separator: ";") {
                let pair = pair.drop { $0 == " " }
                guard pair.hasPrefix(Self.cookieName + "=") else { continue }
                if let reader = opened(pair.dropFirst(Self.cookieName.count + 1), nowMs: nowMs) { return reader }
            }
        }
        return nil
    }

    static func bearer(_ headers: HTTPFields) -> Substring? {
        guard let text = headers[.authorization], text.lowercased().hasPrefix("bearer ") else { return nil }
        return text.dropFirst(7)
    }

    /// The `Set-Cookie` for somebody who typed `text`; nil: it is no token.
    func cookie(for text: String, nowMs: Int64) -> String? {
        guard let token = token(text[...]) else { return nil }
        let until = nowMs / 1000 + Self.lifeSeconds
        let value = "\(until).\(Self.code(until, token.cookieKey))"
        return "\(Self.cookieName)=\(value); Max-Age=\(Self.lifeSeconds); \(Self.cookieRules)"
    }

    static let noCookie = "\(cookieName)=; Max-Age=0; \(cookieRules)"

    private static let cookieRules = "Path=/; HttpOnly; Secure; SameSite=Strict"

    private func opened(_ value: Substring, nowMs: Int64) -> Reader? {
        let parts = value.split(separator: ".")
        guard parts.count == 2, let until = Int64(parts[0]), until > nowMs / 1000,
            until <= nowMs / 1000 + Self.lifeSeconds
        else { return nil }
        for token in tokens where HMACComparison.equal(Self.code(until, token.cookieKey).utf8, parts[1].utf8) {
            return Reader(name: Self.name(token.mayAct), mayAct: token.mayAct, canSignOut: true)
        }
        return nil
    }

    private func token(_ text: Substring) -> Token? {
        tokens.first { HMACComparison.equal($0.text.utf8, text.utf8) }
    }

    private static func name(_ mayAct: Bool) -> String { mayAct ? "operator" : "viewer" }

    private static func code(_ until: Int64, _ key: SymmetricKey) -> String {
        Hexadecimal.encode(HMAC<SHA256>.authenticationCode(for: Data("until \(until)".utf8), using: key))
    }
}
