public import NIOHTTP1

/// The reason why the listener refuses a request: before it passes the request on, or while the body is still arriving.
public enum HTTPRefusal: Error, Hashable, Sendable {
    /// The bytes are not HTTP/1.1.
    case malformed
    /// The length of the body cannot be read (RFC 9112, section 6.3).
    case length
    /// More headers, or larger ones, than allowed.
    case headersTooLarge
    /// An HTTP/1.1 request without exactly one `Host` of a valid form (RFC 9112, section 3.2).
    case host
    /// The body did not arrive within its deadline.
    case bodyDeadline
    /// The client, behind a trusted proxy, already has its share of requests in progress.
    case clientShare

    init(_ error: HTTPParserError) {
        switch error {
        case .headerOverflow: self = .headersTooLarge
        case .invalidChunkSize, .invalidContentLength, .unexpectedContentLength: self = .length
        default: self = .malformed
        }
    }

    /// RFC 9110, section 15.5; RFC 6585, section 5, for 431.
    public var status: HTTPResponseStatus {
        switch self {
        case .malformed, .length, .host: .badRequest
        case .headersTooLarge: .requestHeaderFieldsTooLarge
        case .bodyDeadline: .requestTimeout
        case .clientShare: .tooManyRequests
        }
    }

    /// The message for people. It never repeats what the client sent.
    public var message: String {
        switch self {
        case .malformed: "Malformed request: this is no HTTP/1.1"
        case .length: "Malformed request: the length of the body cannot be read"
        case .headersTooLarge: "The headers are too large: at most 32 KB in at most 100 fields"
        case .host: "Malformed request: expected exactly one Host with a host name or address, and a port if need be"
        case .bodyDeadline: "The body did not arrive in time"
        case .clientShare: "Too many requests of this client are under way: try again after the time in Retry-After"
        }
    }
}

/// The reply to a refused request. The connection is closed after it.
public struct HTTPRefusalReply: Sendable {
    /// `Content-Length`, `Connection` and `Date` are added.
    public var headers: HTTPHeaders
    public var body: [UInt8]

    public init(headers: HTTPHeaders, body: [UInt8]) {
        self.headers = headers
        self.body = body
    }

    /// A reply with one line of text.
    public static func text(_ refusal: HTTPRefusal) -> HTTPRefusalReply {
        HTTPRefusalReply(
            headers: ["Content-Type": "text/plain; charset=utf-8"], body: Array("\(refusal.message)\n".utf8))
    }
}

/// The event that a reader of a body sends down the pipeline before it reads the body of the oldest unanswered request.
/// A client that waits for `100 Continue` (RFC 9110, section 10.1.1) then gets it.
public struct BodyIsWanted: Sendable {
    public init() {}
}
