import CNghttp2
import NIOCore
import PushProviders

/// A fault of the connection as a whole, by nghttp2's number.
struct HTTP2Failure: Error, CustomStringConvertible {
    var code: Int
    var description: String { "HTTP/2: " + String(cString: nghttp2_strerror(Int32(truncatingIfNeeded: code))) }
}

/// The one owner of an `nghttp2_session`: streams, and what the callbacks recorded since it was last asked.
///
/// Bytes go in and out through `receive` and `send`; no I/O happens here. Callbacks only record: whatever follows from
/// an answer is done by the caller after `receive` or `send` has returned, because nghttp2 may not be re-entered.
final class HTTP2Session {
    /// A stream that ended, and how.
    enum End: Equatable {
        case answered
        /// The peer says that it was not processed: above the last id of a GOAWAY.
        case beyondGoaway
        /// The peer says that it was not processed: RST_STREAM with REFUSED_STREAM.
        case refused
        /// Its headers never left.
        case unsent
        case reset
    }

    /// Most of a response body that is kept; a longer one is cut off and its stream reset.
    static let bodyLimit = 65_536

    private let session: OpaquePointer
    /// Streams that count against the peer's limit, by slot.
    private(set) var streams: ContiguousArray<OutboundRequest?> = []
    private var freeSlots: ContiguousArray<Int> = []
    private(set) var openStreams = 0
    private var fields: UnsafeMutablePointer<nghttp2_nv>
    private let constantFields: Int
    private let constants: [SharedBytes]
    private static let mostFields = 24

    // Recorded by the callbacks.
    var ended: [(request: OutboundRequest, end: End)] = []
    fileprivate(set) var hasSettings = false
    /// Of the last GOAWAY.
    fileprivate(set) var goaway: (lastStreamID: Int32, code: UInt32)?
    fileprivate var sendTimeMs: Int64 = 0
    private var lastDate: [UInt8] = []
    /// Of the requests, which are all to one provider.
    private var answerIDName = UnsafeBufferPointer<UInt8>(start: nil, count: 0)

    /// - Parameter authority: `host:port`, or `host` for port 443.
    init(authority: String) throws {
        var created: OpaquePointer?
        var option: OpaquePointer?
        nghttp2_option_new(&option)
        defer { nghttp2_option_del(option) }
        nghttp2_option_set_no_closed_streams(option, 1)
        constants = ["POST", "https", authority].map { SharedBytes($0) }
        constantFields = constants.count
        fields = .allocate(capacity: Self.mostFields)
        for (index, name) in [HeaderName.method, .scheme, .authority].enumerated() {
            (fields + index).initialize(
                to: nghttp2_nv(.init(name), constants[index].start, constants[index].count))
        }
        // The user data is a pointer to this object, which outlives the session: it is deleted in `deinit`.
        let code = nghttp2_session_client_new2(&created, SessionCallbacks.shared.pointer, nil, option)
        guard code == 0, let created else {
            fields.deallocate()
            throw HTTP2Failure(code: Int(code))
        }
        session = created
        nghttp2_session_set_user_data(session, Unmanaged.passUnretained(self).toOpaque())
        var settings = [
            nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0),
            nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue), value: 16_384),
        ]
        let submitted = nghttp2_submit_settings(session, 0, &settings, settings.count)
        if submitted != 0 { throw HTTP2Failure(code: Int(submitted)) }
    }

    deinit {
        nghttp2_session_del(session)
        fields.deallocate()
    }

    /// The peer's MAX_CONCURRENT_STREAMS.
    var peerStreamLimit: Int {
        Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
    }

    /// Opens a stream for the request; its bytes leave with the next ``send(into:nowMs:)``.
    /// - Returns: false when the session takes no more streams: the request is as it was.
    func open(_ request: OutboundRequest) -> Bool {
        var count = constantFields
        request.forEachField { name, value, length in
            guard count < Self.mostFields else { return }
            fields[count] = nghttp2_nv(name, value, length)
            count += 1
        }
        if let authorization = request.authorization, count < Self.mostFields {
            fields[count] = nghttp2_nv(.init(.authorization), authorization.start, authorization.count)
            count += 1
        }
        if let name = request.answerIDName {
            answerIDName = UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
        }
        let pointer = Unmanaged.passUnretained(request).toOpaque()
        var provider = nghttp2_data_provider()
        provider.source.ptr = pointer
        provider.read_callback = readBody
        let id = nghttp2_submit_request(session, nil, fields, count, &provider, pointer)
        guard id > 0 else { return false }
        request.streamID = id
        request.state = .open
        if let slot = freeSlots.popLast() {
            streams[slot] = request
            request.slot = slot
        } else {
            request.slot = streams.count
            streams.append(request)
        }
        openStreams += 1
        return true
    }

    func receive(_ bytes: UnsafeRawBufferPointer) throws {
        let taken = nghttp2_session_mem_recv(
            session, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
        if taken < 0 { throw HTTP2Failure(code: taken) }
    }

    /// Appends what waits to be sent. - Parameter nowMs: becomes `sentAtMs` of the requests whose headers are in it.
    func send(into buffer: inout ByteBuffer, nowMs: Int64) throws {
        sendTimeMs = nowMs
        while true {
            var start: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(session, &start)
            if count < 0 { throw HTTP2Failure(code: count) }
            if count == 0 { return }
            buffer.writeBytes(UnsafeRawBufferPointer(start: start, count: count))
        }
    }

    /// RST_STREAM with CANCEL; the slot comes back when it has been written.
    func cancel(_ request: OutboundRequest) {
        nghttp2_submit_rst_stream(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), request.streamID, NGHTTP2_CANCEL.rawValue)
    }

    func ping() { nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil) }

    /// GOAWAY with NO_ERROR: we open nothing more.
    func terminate() { nghttp2_session_terminate_session(session, NGHTTP2_NO_ERROR.rawValue) }

    /// nghttp2 itself sees nothing left to do.
    var isFinished: Bool { nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0 }

    /// True when stream ids run out soon.
    var isNearlyUsedUp: Bool { nghttp2_session_get_next_stream_id(session) > UInt32(Int32.max) - 100_000 }

    func takeEnded(into other: inout [(request: OutboundRequest, end: End)]) { swap(&ended, &other) }

    /// The connection is gone: every stream that had no end yet.
    func abandon() -> [OutboundRequest] {
        let left = streams.compactMap { $0 }.filter { $0.state == .open }
        streams.removeAll()
        freeSlots.removeAll()
        openStreams = 0
        return left
    }

    // MARK: Called by the callbacks

    fileprivate func record(_ request: OutboundRequest, _ end: End) {
        request.state = end == .answered ? .answered : .ended
        ended.append((request, end))
    }

    fileprivate func release(_ request: OutboundRequest) {
        let slot = request.slot
        guard slot >= 0, slot < streams.count, streams[slot] === request else { return }
        streams[slot] = nil
        freeSlots.append(slot)
        request.slot = -1
        openStreams -= 1
    }

    fileprivate func received(_ frame: UnsafePointer<nghttp2_frame>) {
        let header = frame.pointee.hd
        let flags = UInt32(header.flags)
        switch UInt32(header.type) {
        case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
            guard flags & NGHTTP2_FLAG_END_STREAM.rawValue != 0, let request = request(of: header.stream_id),
                request.state == .open
            else { return }
            record(request, .answered)
            // A peer may answer without reading the body; what the window still holds back is of no use to it.
            if request.bodySent < request.bodyCount { cancel(request) }
        case NGHTTP2_SETTINGS.rawValue:
            if flags & NGHTTP2_FLAG_ACK.rawValue == 0 { hasSettings = true }
        case NGHTTP2_GOAWAY.rawValue:
            goaway = (frame.pointee.goaway.last_stream_id, frame.pointee.goaway.error_code)
        default:
            break
        }
    }

    fileprivate func request(of streamID: Int32) -> OutboundRequest? {
        guard let pointer = nghttp2_session_get_stream_user_data(session, streamID) else { return nil }
        // Unretained: `streams` holds it until `on_stream_close`.
        return Unmanaged<OutboundRequest>.fromOpaque(pointer).takeUnretainedValue()
    }

    fileprivate func closed(_ streamID: Int32, code: UInt32) {
        guard let request = request(of: streamID) else { return }
        if request.state == .open {
            switch code {
            case NGHTTP2_REFUSED_STREAM.rawValue:
                record(request, goaway.map { streamID > $0.lastStreamID } == true ? .beyondGoaway : .refused)
            default:
                // A complete status line that says yes is an answer, whatever comes behind it.
                record(request, (200..<300).contains(request.status) ? .answered : .reset)
            }
        }
        release(request)
    }

    fileprivate func sent(_ frame: UnsafePointer<nghttp2_frame>) {
        guard UInt32(frame.pointee.hd.type) == NGHTTP2_HEADERS.rawValue,
            let request = request(of: frame.pointee.hd.stream_id)
        else { return }
        request.sentAtMs = sendTimeMs
    }

    /// A request whose HEADERS nghttp2 did not send has no stream yet, so no close callback comes for it.
    fileprivate func notSent(_ frame: UnsafePointer<nghttp2_frame>) {
        guard UInt32(frame.pointee.hd.type) == NGHTTP2_HEADERS.rawValue else { return }
        let id = frame.pointee.hd.stream_id
        guard let request = streams.lazy.compactMap({ $0 }).first(where: { $0.streamID == id }) else { return }
        if request.state == .open { record(request, .unsent) }
        release(request)
    }

    fileprivate func header(
        _ streamID: Int32, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) {
        switch name.count {
        case 4 where name.elementsEqual("date".utf8):
            // One of each second is enough, and parsed: at full load there are thousands of answers in it.
            guard value.count == 29, !value.elementsEqual(lastDate), let request = request(of: streamID),
                request.state == .open
            else { return }
            lastDate = Array(value)
            request.date = lastDate
        case 7 where name[0] == UInt8(ascii: ":"):
            guard value.count == 3, let request = request(of: streamID), request.state == .open else { return }
            request.status = value.reduce(0) { $0 * 10 + Int($1 &- UInt8(ascii: "0")) }
        case 11 where name.elementsEqual("retry-after".utf8):
            guard value.count <= 64, let request = request(of: streamID), request.state == .open else { return }
            request.retryAfter = Array(value)
        case answerIDName.count where name.elementsEqual(answerIDName):
            guard value.count <= 512, let request = request(of: streamID), request.state == .open else { return }
            request.responseID = Array(value)
        default:
            break
        }
    }

    fileprivate func data(_ streamID: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
        guard let request = request(of: streamID), request.state == .open else { return }
        let room = Self.bodyLimit - request.responseBody.count
        request.responseBody.append(contentsOf: bytes.prefix(room))
        if bytes.count > room {
            record(request, .answered)
            cancel(request)
        }
    }
}

/// nghttp2's table of callbacks, made once and shared by all sessions.
private struct SessionCallbacks: @unchecked Sendable {
    // Guarantee: never written after `init`; nghttp2 copies it into each session.
    static let shared = SessionCallbacks()
    let pointer: OpaquePointer?

    init() {
        var callbacks: OpaquePointer?
        nghttp2_session_callbacks_new(&callbacks)
        pointer = callbacks
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            if let frame { owner(user)?.received(frame) }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
            if let frame { owner(user)?.sent(frame) }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks) { _, frame, _, user in
            if let frame { owner(user)?.notSent(frame) }
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, code, user in
            owner(user)?.closed(id, code: code)
            return 0
        }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, frame, name, nameCount, value, valueCount, _, user in
            if let frame {
                owner(user)?.header(
                    frame.pointee.hd.stream_id, UnsafeBufferPointer(start: name, count: nameCount),
                    UnsafeBufferPointer(start: value, count: valueCount))
            }
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, id, bytes, count, user in
            owner(user)?.data(id, UnsafeBufferPointer(start: bytes, count: count))
            return 0
        }
    }
}

/// The session object that nghttp2 calls back; unretained, because it deletes the session before it goes.
private func owner(_ user: UnsafeMutableRawPointer?) -> HTTP2Session? {
    user.map { Unmanaged<HTTP2Session>.fromOpaque($0).takeUnretainedValue() }
}

/// Copies the next piece of a request's body into nghttp2's frame.
private let readBody: nghttp2_data_source_read_callback = { _, _, target, room, flags, source, _ in
    guard let target, let pointer = source?.pointee.ptr else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
    // Unretained: the session's `streams` holds the request until its stream is closed.
    let request = Unmanaged<OutboundRequest>.fromOpaque(pointer).takeUnretainedValue()
    let body = request.body
    let count = min(room, body.count - request.bodySent)
    if count > 0, let start = body.baseAddress { target.update(from: start + request.bodySent, count: count) }
    request.bodySent += count
    if request.bodySent == body.count { flags?.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue) }
    return count
}
