import NIOCore
import NIOHPACK
import Wire

/// One request to a look-alike, whole.
struct ProviderRequest: Sendable {
    var method: String
    var path: String
    /// Without the pseudo-headers' meaning lost: they are in here too.
    var headers: HPACKHeaders
    /// At most ``ConnectionLimits/longestBody`` bytes.
    var body: ByteBuffer
    /// Of the body as it came, which may be longer than what was kept.
    var bodyLength: Int
}

/// What a look-alike answers.
struct ProviderReply: Sendable {
    var status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []
    /// True when the request proved who sends it; the first such answer opens the connection for more streams.
    var isAuthenticated = false
}

enum ProviderAction: Sendable {
    case reply(ProviderReply, delayMs: Int)
    /// The stream stays open without an answer.
    case silence
    case reset
}

/// How a connection is to be run.
struct ConnectionLimits: Sendable {
    /// MAX_CONCURRENT_STREAMS at first, and how many are served.
    var firstStreams: Int
    /// MAX_CONCURRENT_STREAMS after the first authenticated answer.
    var streams: Int
    /// Bytes of a body that are kept. The rest is counted and thrown away, up to 64 KiB of a stream's window.
    var longestBody: Int
}

/// A look-alike: decides, at once and without blocking, on an event loop.
protocol ProviderResponder: Sendable {
    var limits: ConnectionLimits { get }
    /// As they are switched now; a connection is made with them.
    var faults: ProviderFaults { get }
    /// - Parameter count: streams that this connection has opened, this one included.
    func streamOpened(count: Int) -> StreamFate
    func respond(to request: ProviderRequest) -> ProviderAction
    func note(_ happening: ConnectionHappening)
}

extension ProviderResponder {
    var faults: ProviderFaults { ProviderFaults() }

    /// The answer to a request that asks for nothing but the time; nil: it asks for more. Pushes get no `Date`: a
    /// simulator may run on a clock that a test sets.
    func time(for request: ProviderRequest) -> ProviderAction? {
        guard request.method == "HEAD" else { return nil }
        let seconds = Timestamp.nowMs() / 1000 + Int64(faults.clockAheadSeconds)
        return .reply(
            ProviderReply(status: 404, headers: [("date", Timestamp.httpDate(epochSeconds: seconds))]), delayMs: 0)
    }
}

/// What connections do, for counters.
enum ConnectionHappening: Sendable {
    case opened
    case closed
    case goAway
    case cut
    /// A second stream before the first authenticated answer.
    case earlyStream
}
