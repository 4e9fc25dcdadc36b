import ChallengeModel
import Challenges
import Crypto
import Wire

/// A request that was read, for the handlers.
struct APICall: Sendable {
    let match: RouteMatch
    /// The operation; for HEAD, that of GET.
    let operation: Operation
    /// True for HEAD: the content of the reply is not sent.
    var isHead = false
    /// The path as it was sent, still escaped.
    let path: String
    /// The query as it was sent.
    let query: String
    let body: [UInt8]
    let contentType: String?
    let credentials: PresentedCredentials?
    /// `scheme://host:port`, without a slash at its end.
    let baseURL: String
    /// The address of the client; behind a trusted proxy, the address that the proxy names.
    let address: String
    /// The trace context that the consequences of the call follow, in the form of ``TraceContext/text``.
    var traceparent: String?
    /// Nil: the call is not recorded.
    var trace: RequestTrace?
    /// The header `Idempotency-Key` as it was sent.
    let idempotencyKey: String?
    /// The signature of a call by Huawei.
    var callbackID: String?
    /// `RQ…`.
    let requestID: String
    /// Epoch milliseconds.
    var nowMs: Int64
    /// The header `If-None-Match`, as it was sent.
    var ifNoneMatch: String?
    /// The authenticated caller; nil: the request has no credentials, or an access token or receipt token.
    var caller: Caller?

    /// `GET` for HEAD.
    var method: String { operation.method.rawValue }

    // What stands in the path, by the places of ``Route/table``: a service is always the first value, an identity the
    // second.

    var service: String { match.values[0] }
    var identity: String { match.values[1] }
    /// The last value of the path: the resource itself, or the challenge that it belongs to.
    var item: String { match.values[match.values.count - 1] }

    /// The SID of the challenge or factor in the path, for the audit event of a refusal; otherwise nil.
    var subject: String? {
        switch match.route.subject {
        case .challenge: ChallengeSID(item)?.rawValue
        case .factor: FactorSID(item)?.rawValue
        case .caller: nil
        }
    }

    /// True when the reply may wait for a change.
    var mayWait: Bool { operation.traits.contains(.waits) && !query.isEmpty }

    var ignoresIdempotencyKey: Bool {
        idempotencyKey != nil && operation.method == .post && !operation.traits.contains(.takesIdempotencyKey)
    }

    /// The parameters: of the query for a GET, of the body for a POST.
    /// - Throws: 20415 for a body of another type, or the first broken parameter.
    func parameters() throws -> ParameterReader {
        if operation.method == .get {
            return try ParameterReader(reading: query.utf8, isOfList: operation.traits.contains(.list))
        }
        guard !body.isEmpty else { return ParameterReader(Form()) }
        guard contentType == Self.formType || bareContentType == Self.formType else {
            throw APIError(.mediaType, "Content-Type: expected application/x-www-form-urlencoded")
        }
        return try ParameterReader(reading: body)
    }

    private static let formType = "application/x-www-form-urlencoded"

    private var bareContentType: String? {
        contentType?.split(separator: ";").first?.trimmingWhitespace().lowercased()
    }

    /// SHA-256 over everything that a request asks for.
    var fingerprint: [UInt8] {
        SHA256.hash(parts: [Array(method.utf8), Array(path.utf8), Array(query.utf8), body])
    }

    /// Reads a SID in the path. Another text is not found.
    func sid<Kind>(_ text: String, _ kind: SID<Kind>.Type = SID<Kind>.self) throws(APIError) -> SID<Kind> {
        guard let sid = SID<Kind>(text) else { throw .notFound }
        return sid
    }
}

/// The reply of a handler.
struct APIReply: Sendable {
    var status: Int
    /// The body; nil: no body, as for 204.
    var body: JSONValue?
    var headers: [String: String] = [:]
    /// Names for the header `Beckon-Ignored`.
    var ignored: [String] = []

    static func created(_ body: JSONValue, ignoring ignored: [String] = []) -> APIReply {
        APIReply(status: 201, body: body, ignored: ignored)
    }

    static func ok(_ body: JSONValue, ignoring ignored: [String] = []) -> APIReply {
        APIReply(status: 200, body: body, ignored: ignored)
    }

    static let noContent = APIReply(status: 204)

    static func noContent(ignoring ignored: [String]) -> APIReply { APIReply(status: 204, ignored: ignored) }
}

extension StringProtocol {
    func trimmingWhitespace() -> String {
        var text = Substring(self)
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
