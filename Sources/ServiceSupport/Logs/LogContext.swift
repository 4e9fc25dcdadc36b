package import KafkaClient
package import Logging
import Wire

/// What a line of the log says about the challenge on whose way it is written: `request-id` and `trace-id`. It travels
/// with the task. The texts are read only when a line is written.
package struct LogContext: Sendable {
    @TaskLocal package static var current: LogContext?

    /// `RQ…`; nil: the work does not come from an HTTP request.
    private let requestID: String?
    private let trace: Trace

    private enum Trace: Sendable {
        /// In the form of ``TraceContext/text``.
        case text(String?)
        case headers([RecordHeader])
    }

    /// - Parameter trace: a context in the form of ``TraceContext/text``.
    package init(requestID: String? = nil, trace: String?) {
        self.requestID = requestID
        self.trace = .text(trace)
    }

    /// Of a record that is processed.
    package init(_ record: ConsumedRecord) {
        requestID = nil
        trace = .headers(record.headers)
    }

    /// The metadata of a line.
    var metadata: Logger.Metadata {
        var metadata: Logger.Metadata =
            switch trace {
            case .text(let text): .trace(text)
            case .headers(let headers): .trace(of: headers)
            }
        if let requestID { metadata["request-id"] = "\(requestID)" }
        return metadata
    }

    /// For loggers: the metadata of the current task.
    package static let provider = Logger.MetadataProvider { current?.metadata ?? [:] }
}

extension Logger.Metadata {
    /// `trace-id`, beside `more`; only `more` when the text is no valid context.
    /// - Parameter context: in the form of ``TraceContext/text``.
    package static func trace(_ context: String?, _ more: Logger.Metadata = [:]) -> Logger.Metadata {
        guard let context = TraceContext(text: context) else { return more }
        return more.merging(["trace-id": "\(context.traceID.text)"]) { mine, _ in mine }
    }

    /// `trace-id` of a record with these headers, beside `more`.
    package static func trace(of headers: [RecordHeader], _ more: Logger.Metadata = [:]) -> Logger.Metadata {
        trace(headers.traceContext, more)
    }
}
