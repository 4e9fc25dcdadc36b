import ChallengeModel
import KafkaClient
import KafkaGroup
import ServiceSupport
import Wire

/// Dead letters as text and JSON. Keys and headers come from outside: they are escaped and shortened.
enum DeadLetterText {
    static let titles = ["id", "written", "topic", "reason", "key", "bytes", "replay"]

    static func row(_ letter: DeadLetter, nowMs: Int64) -> [String] {
        [
            letter.id.description, time(letter.writtenAtMs) ?? "–", letter.topic?.rawValue ?? letter.topicName,
            letter.reason, shortened(String(decoding: letter.key, as: UTF8.self), to: 48),
            String(letter.valueByteCount), letter.refusal(nowMs: nowMs)?.rawValue ?? "yes",
        ]
    }

    static func object(_ letter: DeadLetter, nowMs: Int64) -> JSONValue {
        let refusal = letter.refusal(nowMs: nowMs)
        return .object([
            ("id", .string(letter.id.description)), ("written_at", .optional(time(letter.writtenAtMs))),
            ("topic", .string(letter.topicName)), ("partition", .integer(Int64(letter.partition))),
            ("offset", .integer(letter.offset)), ("original_at", .optional(time(letter.timestampMs))),
            ("reason", .string(letter.reason)), ("detail", .string(letter.detail)),
            ("key", .string(String(decoding: letter.key, as: UTF8.self))),
            ("bytes", .integer(Int64(letter.valueByteCount))), ("content_type", .optional(letter.contentType)),
            ("expires_at", .optional(time(letter.expiresAtMs))), ("replayable", .boolean(refusal == nil)),
            ("refusal", .optional(refusal?.rawValue)), ("replayed_by", .optional(letter.replayID)),
        ])
    }

    /// - Parameter payload: nil: it is not shown.
    static func details(_ letter: DeadLetter, payload: [UInt8]?, nowMs: Int64) -> JSONValue {
        let headers = letter.headers.map { (name: $0.name, value: JSONValue.string(text(of: $0))) }
        var object = object(letter, nowMs: nowMs).adding("headers", .object(headers))
        if let refusal = letter.refusal(nowMs: nowMs) {
            object = object.adding("refusal_detail", .string(refusal.explanation))
        }
        guard let payload else { return object }
        if let decoded = letter.topic?.json(ofRecord: payload, contentType: letter.contentType),
            let tree = try? JSONParser.parse(decoded, .reply)
        {
            object = object.adding("payload", tree)
        }
        return object.adding("payload_base64", .string(Base64.encode(payload)))
    }

    static func print(_ name: String, _ value: JSONValue) {
        let text =
            switch value {
            case .string(let text): text
            case .null: "–"
            default: value.text
            }
        Terminal.line("\(name): \(EscapingLogHandler.escaped(text))")
    }

    private static func text(of header: RecordHeader) -> String {
        guard let text = String(validating: header.value, as: UTF8.self), text.utf8.count <= 1024 else {
            return "(\(header.value.count) bytes)"
        }
        return text
    }

    private static func time(_ epochMs: Int64) -> String? {
        Timestamp.range.contains(epochMs) ? Timestamp.rfc3339Milliseconds(epochMs) : nil
    }

    private static func shortened(_ text: String, to count: Int) -> String {
        text.unicodeScalars.count <= count
            ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(count - 1))) + "…"
    }
}
