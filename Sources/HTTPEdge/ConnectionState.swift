import DequeModule
import NIOHTTP1

/// The rules of RFC 9112 for one connection: which requests it accepts, in which order refusals are answered, and when
/// it ends. A pure value; ``HTTPGate`` carries out its decisions.
struct ConnectionState {
    /// A request that was passed on and is not answered yet.
    private struct Outstanding {
        /// The connection ends after the reply to this request.
        var isLast: Bool
        /// The client asked for `100 Continue` and has not received it.
        var waitsForContinue: Bool
    }

    private enum Reading {
        /// The connection is between two requests.
        case head
        /// The body of the last request in ``outstanding``, or of a request that was already answered.
        case body
        /// This connection accepts no further request.
        case nothing
    }

    private var outstanding: Deque<Outstanding> = []
    private var reading = Reading.head
    /// A refusal that is sent after all earlier requests are answered.
    private var refusal: HTTPRefusal?
    private(set) var isClosing = false
    private var isQuiescing = false

    /// Neither a request nor a reply is in progress.
    var isIdle: Bool { outstanding.isEmpty && reading == .head }
    /// Whether the connection can accept the head of a request now.
    var takesHead: Bool { reading == .head && !isClosing }

    /// Accepts a request. Call it only while ``takesHead`` is true, for a head that ``refusal(of:)`` does not refuse.
    mutating func take(_ head: HTTPRequestHead) {
        outstanding.append(
            Outstanding(isLast: !head.isKeepAlive || head.version.minor == 0, waitsForContinue: Self.expects(head)))
        reading = .body
    }

    /// - Returns: whether it is handed on.
    mutating func body() -> Bool {
        guard reading == .body, !isClosing else { return false }
        // A client that sends its body no longer waits for `100 Continue`.
        if !outstanding.isEmpty { outstanding[outstanding.count - 1].waitsForContinue = false }
        return true
    }

    /// - Returns: whether it is handed on.
    mutating func end() -> Bool {
        guard reading == .body, !isClosing else { return false }
        reading = outstanding.last?.isLast == true ? .nothing : .head
        return true
    }

    enum Broken: Equatable {
        /// The reader of the body gets the error.
        case tellReader
        /// No reader waits. The refusal is sent in its turn, see ``nextRefusal()``.
        case answer
        /// The request was already answered, so the connection ends.
        case close
        /// The connection is already ending.
        case ignore
    }

    /// Call it when no further bytes of this connection can be read.
    mutating func broken(_ why: HTTPRefusal) -> Broken {
        guard reading != .nothing, !isClosing else { return .ignore }
        let wasBody = reading == .body
        reading = .nothing
        if wasBody {
            guard !outstanding.isEmpty else {
                isClosing = true
                return .close
            }
            outstanding[outstanding.count - 1].isLast = true
            return .tellReader
        }
        refusal = why
        return .answer
    }

    /// The refusal that must be sent now; nil: none.
    mutating func nextRefusal() -> HTTPRefusal? {
        guard outstanding.isEmpty, let due = refusal else { return nil }
        refusal = nil
        isClosing = true
        return due
    }

    /// Call it when the reader of the oldest request asks for its body.
    /// - Returns: whether `100 Continue` must be sent.
    mutating func wantsBody() -> Bool {
        guard outstanding.first?.waitsForContinue == true, !isClosing else { return false }
        outstanding[0].waitsForContinue = false
        return true
    }

    mutating func quiesce() { isQuiescing = true }

    /// - Parameter closes: the reply itself has `Connection: close`.
    /// - Returns: whether the reply must say `Connection: close`.
    mutating func replyHead(closes: Bool) -> Bool {
        guard !outstanding.isEmpty else { return true }
        // A body that the client still holds back cannot be distinguished from the next request.
        if closes || outstanding[0].waitsForContinue || isQuiescing && outstanding.count == 1 {
            outstanding[0].isLast = true
        }
        return outstanding[0].isLast
    }

    enum ReplyEnd: Equatable {
        case goOn
        case becameIdle
        case close
    }

    mutating func replyEnd() -> ReplyEnd {
        guard let answered = outstanding.popFirst(), !answered.isLast else {
            isClosing = true
            reading = .nothing
            return .close
        }
        return isIdle ? .becameIdle : .goOn
    }

    // MARK: - Heads

    private static func expects(_ head: HTTPRequestHead) -> Bool {
        head.version.minor >= 1
            && head.headers[canonicalForm: "Expect"].contains { $0.lowercased() == "100-continue" }
    }

    /// RFC 9112, section 3.2: exactly one `Host` in HTTP/1.1, at most one in HTTP/1.0; and 3.2.4 for the rest of the
    /// target.
    static func refusal(of head: HTTPRequestHead) -> HTTPRefusal? {
        guard head.version.major == 1 else { return .malformed }
        let hosts = head.headers["Host"]
        if head.version.minor == 0, hosts.isEmpty { return nil }
        guard hosts.count == 1, isHost(hosts[0]) else { return .host }
        return nil
    }

    /// Whether the text is `uri-host [":" port]`, or empty, as for a target without an authority.
    static func isHost(_ text: String) -> Bool {
        text.utf8.count <= 255
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                // unreserved, sub-delims, pct-encoded, and the brackets and colons of addresses and ports.
                default: "-._~!$&'()*+;=%:[]".utf8.contains(byte)
                }
            }
    }
}
