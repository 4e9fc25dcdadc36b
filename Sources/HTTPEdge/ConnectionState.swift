import DequeModule
import NIOHTTP1

/// What a connection must do about what it reads and writes, by RFC 9112: which requests it takes, in which order refusals are
/// answered, and when it ends. Pure; ``HTTPGate`` does what it says.
struct ConnectionState {
    /// A request that was handed on and is not answered yet.
    private struct Outstanding {
        /// The connection ends behind its reply.
        var isLast: Bool
        /// It asked for `100 Continue` and has not got it.
        var waitsForContinue: Bool
    }

    private enum Reading {
        /// Between two requests.
        case head
        /// In the body of the last one of ``outstanding``, or of one that is answered already.
        case body
        /// Nothing more is taken from this connection.
        case nothing
    }

    private var outstanding: Deque<Outstanding> = []
    private var reading = Reading.head
    /// To be answered once everything before it is.
    private var refusal: HTTPRefusal?
    private(set) var isClosing = false
    private var isQuiescing = false

    /// Neither a request nor a reply is under way.
    var isIdle: Bool { outstanding.isEmpty && reading == .head }
    /// A head that comes now is one of a request that may be taken.
    var takesHead: Bool { reading == .head && !isClosing }

    /// A request is taken: one that ``refusal(of:)`` has nothing against, while ``takesHead``.
    mutating func take(_ head: HTTPRequestHead) {
        outstanding.append(
            Outstanding(isLast: !head.isKeepAlive || head.version.minor == 0, waitsForContinue: Self.expects(head)))
        reading = .body
    }

    /// - Returns: whether it is handed on.
    mutating func body() -> Bool {
        guard reading == .body, !isClosing else { return false }
        // Who sends does not wait.
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
        /// Whoever reads the body is told.
        case tellReader
        /// Nobody reads: the refusal is answered in its turn, see ``nextRefusal()``.
        case answer
        /// The request is answered already: the connection ends.
        case close
        /// The end of the connection is under way.
        case ignore
    }

    /// Nothing that follows on this connection can be read or taken.
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

    /// The refusal whose turn has come.
    mutating func nextRefusal() -> HTTPRefusal? {
        guard outstanding.isEmpty, let due = refusal else { return nil }
        refusal = nil
        isClosing = true
        return due
    }

    /// The reader of the oldest request wants its body.
    /// - Returns: whether `100 Continue` is to be sent.
    mutating func wantsBody() -> Bool {
        guard outstanding.first?.waitsForContinue == true, !isClosing else { return false }
        outstanding[0].waitsForContinue = false
        return true
    }

    mutating func quiesce() { isQuiescing = true }

    /// - Parameter closes: the reply says so itself.
    /// - Returns: whether the reply must say `Connection: close`.
    mutating func replyHead(closes: Bool) -> Bool {
        guard !outstanding.isEmpty else { return true }
        // A body that is still held back cannot be told from the next request.
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

    /// RFC 9112, section 3.2: exactly one `Host` in HTTP/1.1, at most one in HTTP/1.0; and 3.2.4 for the rest of the target.
    static func refusal(of head: HTTPRequestHead) -> HTTPRefusal? {
        guard head.version.major == 1 else { return .malformed }
        let hosts = head.headers["Host"]
        if head.version.minor == 0, hosts.isEmpty { return nil }
        guard hosts.count == 1, isHost(hosts[0]) else { return .host }
        return nil
    }

    /// `uri-host [":" port]`; empty where a target has no authority.
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
