public import NIOHTTP1

/// Why a request is refused before anything behind the listener reads it, or while its body is on its way.
public enum HTTPRefusal: Error, Hashable, Sendable {
    /// This is no HTTP/1.1.
    case malformed
    /// The length of the body cannot be read (RFC 9112, section 6.3).
    case length
    /// More headers, or larger ones, than allowed.
    case headersTooLarge
    /// An HTTP/1.1 request without exactly one `Host` of a valid form (RFC 9112, section 3.2).
    case host
    /// The body did not arrive within its deadline.
    case bodyDeadline
    /// The client, behind a trusted proxy, has its share of connections under way.
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

    /// For people. Never repeats what was sent.
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

/// What is answered to a request that was refused. The connection is closed behind it.
public struct HTTPRefusalReply: Sendable {
    /// `Content-Length`, `Connection` and `Date` are added.
    public var headers: HTTPHeaders
    public var body: [UInt8]

    public init(headers: HTTPHeaders, body: [UInt8]) {
        self.headers = headers
        self.body = body
    }

    /// One line of text.
    public static func text(_ refusal: HTTPRefusal) -> HTTPRefusalReply {
        HTTPRefusalReply(
            headers: ["Content-Type": "text/plain; charset=utf-8"], body: Array("\(refusal.message)\n".utf8))
    }
}

/// Sent down a connection's pipeline by whoever is about to read the body of the oldest request that is not answered: a client
/// that waits for `100 Continue` (RFC 9110, section 10.1.1) gets it.
public struct BodyIsWanted: Sendable {
    public init() {}
}
