import NIOCore
import PushProviders

/// How a request ended, as the transport sees it.
enum RequestEnd: Equatable {
    /// The peer answered; status, headers and body are in the request.
    case answered
    /// Its expiry came before its headers left.
    case expired
    /// Its headers never left: it was not to leave any more.
    case withdrawn
    /// Its headers never left: no connection, or its deadline came while it waited for one.
    case unsent
    /// Its headers never left, or the peer said that it did not process it, and it was sent again as often as is
    /// allowed.
    case refused
    /// Its headers left, no answer came within the deadline.
    case timedOut
    /// Its headers left, the connection ended.
    case connectionLost
    /// Its headers left, the peer reset the stream.
    case reset
}

/// One request, and what the transport knows of it.
final class OutboundRequest: PushRequest, @unchecked Sendable {
    // Guarantee: as of `PushRequest`; it is handed back through `completion`.

    enum State { case waiting, open, answered, ended }

    var authorization: SharedBytes?

    // Bounds. Wall clock for the expiry, monotonic for the deadline.
    let expiresAtMs: Int64
    /// Wall clock too. From then on it may still be answered, but does not leave.
    var leaveByMs = Int64.max
    var permit: (any PushPermit)?
    let deadline: NIODeadline
    let completion: (OutboundRequest, RequestEnd) -> Void

    // On the event loop only.
    var state = State.waiting
    var slot = -1
    var streamID: Int32 = 0
    var bodySent = 0
    /// Epoch milliseconds when the headers were handed to the socket; 0: not yet.
    var sentAtMs: Int64 = 0
    /// Times it was handed to another connection because a GOAWAY or REFUSED_STREAM said that it was not processed.
    var resends = 0
    var wasRefusedByReset = false
    /// How long to stay away, when it ended as `refused`.
    var retryAfterRefusalMs: Int64 = 0
    /// It was sent again with a new provider token.
    var wasReauthorized = false

    // What came back.
    var status = 0
    var responseID: [UInt8] = []
    var retryAfter: [UInt8] = []
    /// `Date`, when the connection has not told of that second yet.
    var date: [UInt8] = []
    var responseBody: [UInt8] = []

    init(
        capacity: Int, expiresAtMs: Int64, deadline: NIODeadline,
        completion: @escaping (OutboundRequest, RequestEnd) -> Void
    ) {
        self.expiresAtMs = expiresAtMs
        self.deadline = deadline
        self.completion = completion
        super.init(capacity: capacity)
    }

    /// The same request once more, for another token.
    func again(authorization: SharedBytes) -> OutboundRequest {
        let copy = OutboundRequest(
            capacity: count, expiresAtMs: expiresAtMs, deadline: deadline, completion: completion)
        copy.copyText(of: self)
        copy.authorization = authorization
        copy.leaveByMs = leaveByMs
        copy.permit = permit
        copy.wasReauthorized = true
        return copy
    }

    // MARK: Sending again

    func mayLeave(nowMs: Int64) -> Bool { nowMs < leaveByMs && permit?.isValid ?? true }

    /// Ready for another connection; what is known of the old stream is forgotten.
    func rewind() {
        state = .waiting
        slot = -1
        streamID = 0
        bodySent = 0
        sentAtMs = 0
        status = 0
        responseID.removeAll(keepingCapacity: true)
        retryAfter.removeAll(keepingCapacity: true)
        date.removeAll(keepingCapacity: true)
        responseBody.removeAll(keepingCapacity: true)
    }
}
