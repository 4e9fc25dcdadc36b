import Foundation
import HTTPTypes

/// Whether a request that changes something comes from a page of this console. Browsers say where a request comes from,
/// so no token is needed. The rule is that of Go's `http.CrossOriginProtection` (Go 1.25, net/http, csrf.go).
enum SameOrigin {
    enum Verdict: Sendable, Hashable {
        case allowed
        case refused
        /// No browser sent it, so nobody can have been tricked: a Bearer token must prove who sends it.
        case needsBearer
    }

    static func verdict(method: HTTPRequest.Method, headers: HTTPFields, host: String?) -> Verdict {
        // These change nothing.
        if [.get, .head, .options].contains(method) { return .allowed }
        if let site = headers[fetchSite] { return ["same-origin", "none"].contains(site) ? .allowed : .refused }
        guard let origin = headers[.origin] else { return .needsBearer }
        guard let host, let mark = origin.range(of: "://") else { return .refused }
        return origin[mark.upperBound...].lowercased() == host.lowercased() ? .allowed : .refused
    }

    private static let fetchSite = name("Sec-Fetch-Site")

    private static func name(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else { preconditionFailure("\(text) is not a header's name") }
        return name
    }
}
