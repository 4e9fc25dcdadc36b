import ChallengeModel
import Foundation
import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Gives what the parser refuses the API's body. Hummingbird answers it with an empty 400 and closes, once the requests before
/// it are answered; that reply is filled in here.
final class MalformedRequests: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private var refusal: APIError?

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? HTTPParserError { refusal = APIError(error) }
        context.fireErrorCaught(error)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard let refusal, case .head(let head) = unwrapOutboundIn(data), head.status == .badRequest,
            head.headerFields[.contentLength] == "0"
        else { return context.write(data, promise: promise) }
        let body = ByteBuffer(bytes: refusal.body.bytes)
        var fields: HTTPFields = [
            .connection: "close", .contentType: "application/json", .contentLength: "\(body.readableBytes)",
            .date: HTTPDate.text(Timestamp.nowMs()),
        ]
        fields[APIResponder.requestIDName] = RequestIdentifier.make()
        let reply = HTTPResponse(status: .init(code: refusal.code.httpStatus), headerFields: fields)
        context.write(wrapOutboundOut(.head(reply)), promise: promise)
        context.write(wrapOutboundOut(.body(body)), promise: nil)
    }
}

/// RFC 9110, section 5.6.7. Other replies get theirs from Hummingbird.
enum HTTPDate {
    static func text(_ epochMs: Int64) -> String {
        var time = time_t(epochMs / 1000)
        var fields = tm()
        gmtime_r(&time, &fields)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return
            "\(days[Int(fields.tm_wday)]), \(two(fields.tm_mday)) \(months[Int(fields.tm_mon)]) \(fields.tm_year + 1900) "
            + "\(two(fields.tm_hour)):\(two(fields.tm_min)):\(two(fields.tm_sec)) GMT"
    }
}

extension APIError {
    /// What cannot be read as HTTP. The message never repeats what was sent.
    init(_ error: HTTPParserError) {
        switch error {
        case .headerOverflow:
            self.init(
                .headersTooLarge, "The headers are too large: at most 32 KB in at most 100 fields",
                headers: ["Connection": "close"])
        case .invalidChunkSize, .invalidContentLength, .unexpectedContentLength:
            self.init(
                .malformed, "Malformed request: the length of the body cannot be read",
                headers: ["Connection": "close"])
        default:
            self.init(.malformed, "Malformed request: this is no HTTP/1.1", headers: ["Connection": "close"])
        }
    }
}
