import NIOCore

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
    /// Its headers never left, or the peer said that it did not process it, and it was sent again as often as is allowed.
    case refused
    /// Its headers left, no answer came within the deadline.
    case timedOut
    /// Its headers left, the connection ended.
    case connectionLost
    /// Its headers left, the peer reset the stream.
    case reset
}

/// One request: header fields and body in one block of memory at a fixed address, and what the transport knows of it.
///
/// Fields are stored as `[name][length, 2 bytes][value]…`, the body behind them.
final class OutboundRequest: @unchecked Sendable {
    // Guarantee: one owner at a time. The thread that makes it hands it to a pool, after which only the pool's event loop
    // touches it, until it is handed back through `completion` on that loop.

    enum State { case waiting, open, answered, ended }

    // What is sent.
    private(set) var storage: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private(set) var count = 0
    private(set) var fieldsEnd = 0
    private(set) var fieldCount = 0
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
        self.capacity = capacity
        storage = .allocate(capacity: capacity)
        self.expiresAtMs = expiresAtMs
        self.deadline = deadline
        self.completion = completion
    }

    deinit { storage.deallocate() }

    /// The same request once more, for another token.
    func again(authorization: SharedBytes) -> OutboundRequest {
        let copy = OutboundRequest(
            capacity: count, expiresAtMs: expiresAtMs, deadline: deadline, completion: completion)
        copy.storage.update(from: storage, count: count)
        copy.count = count
        copy.fieldsEnd = fieldsEnd
        copy.fieldCount = fieldCount
        copy.authorization = authorization
        copy.leaveByMs = leaveByMs
        copy.permit = permit
        copy.wasReauthorized = true
        return copy
    }

    // MARK: Writing

    /// Adds a field. False, and nothing added, when the value is empty or is not visible ASCII: it would end up as a
    /// malformed request, or as another one.
    func field(_ name: HeaderName, _ value: String) -> Bool {
        var value = value
        let start = beginField(name)
        let isSound = value.withUTF8 { bytes in
            guard !bytes.isEmpty, bytes.count <= 4096, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                return false
            }
            append(bytes)
            return true
        }
        guard isSound else {
            count = start
            return false
        }
        endField(at: start)
        return true
    }

    /// Starts a field whose value is appended by the caller; pass the result to ``endField(at:)``.
    func beginField(_ name: HeaderName) -> Int {
        let start = count
        append(name.rawValue)
        append(0)
        append(0)
        return start
    }

    func endField(at start: Int) {
        let length = count - start - 3
        storage[start + 1] = UInt8(truncatingIfNeeded: length)
        storage[start + 2] = UInt8(truncatingIfNeeded: length >> 8)
        fieldCount += 1
    }

    /// What is appended from here on is the body.
    func beginBody() { fieldsEnd = count }

    /// Takes back what was appended since `count` was this.
    func truncate(to count: Int) { self.count = count }

    func append(_ byte: UInt8) {
        if count == capacity { grow(by: 1) }
        storage[count] = byte
        count += 1
    }

    func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let start = bytes.baseAddress else { return }
        if count + bytes.count > capacity { grow(by: bytes.count) }
        (storage + count).update(from: start, count: bytes.count)
        count += bytes.count
    }

    func append(_ text: StaticString) {
        append(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private func grow(by more: Int) {
        let wider = max(capacity * 2, count + more)
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: wider)
        moved.update(from: storage, count: count)
        storage.deallocate()
        storage = moved
        capacity = wider
    }

    // MARK: Reading

    var bodyCount: Int { count - fieldsEnd }
    var body: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: storage + fieldsEnd, count: bodyCount) }

    /// Calls `body` with each field in order; the value stays where it is while the request lives.
    func forEachField(_ body: (_ name: UInt8, _ value: UnsafeMutablePointer<UInt8>, _ count: Int) -> Void) {
        var offset = 0
        for _ in 0..<fieldCount {
            let length = Int(storage[offset + 1]) | Int(storage[offset + 2]) << 8
            body(storage[offset], storage + offset + 3, length)
            offset += 3 + length
        }
    }

    /// For tests and logs of the shape: names and values, without the authorization.
    var fields: [String: String] {
        var result: [String: String] = [:]
        forEachField { name, value, count in
            let text = HeaderName(rawValue: name).map { "\($0.text)" } ?? "?"
            result[text] = String(decoding: UnsafeBufferPointer(start: value, count: count), as: UTF8.self)
        }
        return result
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
