import ChallengeModel
import Crypto
import Wire

/// The fields of an event as a form: what every published signature validator reads in the same way. Names are ASCII,
/// distinct and no numbers; values have no white space at their ends; what is empty is left out.
enum FormBody {
    /// The members that version 1 of the API's webhooks has.
    private static let firstVersion: Set<String> = [
        "uuid", "type", "account_sid", "service_sid", "entity_identity", "factor_sid", "challenge_sid",
    ]

    /// - Parameters:
    ///   - version: `v1` or `v2`.
    static func fields(of event: CloudEvent, version: String) -> [(name: String, value: String)] {
        var fields: [String: String] = [:]
        for (name, value) in event.data {
            // The tracker's events call it so.
            let name = name == "identity" ? "entity_identity" : name
            guard let text = text(value).map(trimmed), !text.isEmpty else { continue }
            fields[name] = text
        }
        fields["uuid"] = uuid(of: event.id)
        fields["type"] = event.type.hasPrefix("beckon.") ? String(event.type.dropFirst("beckon.".count)) : event.type
        fields["event_id"] = event.id
        fields["event_time"] = event.time
        return fields.filter { version != "v1" || firstVersion.contains($0.key) }
            .sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { (name: $0.key, value: $0.value) }
    }

    /// The event's id in the form of a UUID (version 8, RFC 9562), for receivers that keep it in a column of that type:
    /// the same at every repeat, and for every webhook.
    static func uuid(of id: String) -> String {
        var bytes = Array(SHA256.hash(data: Array(id.utf8)).prefix(16))
        bytes[6] = bytes[6] & 0x0F | 0x80
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Hexadecimal.encode(bytes)
        var parts: [Substring] = []
        var rest = digits[...]
        for count in [8, 4, 4, 4, 12] {
            parts.append(rest.prefix(count))
            rest = rest.dropFirst(count)
        }
        return parts.joined(separator: "-")
    }

    private static func text(_ value: EventValue) -> String? {
        switch value {
        case .string(let text): text
        case .integer(let number): String(number)
        case .boolean(let flag): flag ? "true" : "false"
        case .null: nil
        case .list, .object: String(decoding: value.jsonBytes(), as: UTF8.self)
        }
    }

    private static func trimmed(_ text: String) -> String {
        let isSpace: (Unicode.Scalar) -> Bool = { $0.properties.isWhitespace || $0.value < 0x20 || $0.value == 0x7F }
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { !isSpace($0) }),
            let last = scalars.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(scalars[first...last])
    }
}
