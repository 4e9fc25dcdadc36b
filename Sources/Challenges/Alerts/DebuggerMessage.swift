import ChallengeModel
import Wire

/// An alert as it is posted to the account's debugger webhook: the fields of the API's own debugger.
public enum DebuggerMessage {
    /// The type of such a delivery among those of events. Its failures raise no alerts.
    public static let deliveryType = "debugger"

    /// The fields of a delivery, as they are posted.
    /// - Parameter bytes: as the store keeps them.
    /// - Throws: when the bytes are not those of a message.
    public static func fields(of bytes: [UInt8]) throws -> [(name: String, value: String)] {
        try (JSONParser.parse(bytes, .reply).members ?? []).compactMap { member in
            member.value.stringValue.map { (name: member.name, value: $0) }
        }
    }

    static func bytes(of alert: Alert) -> [UInt8] {
        let fields: [(String, JSONValue)] = [
            ("AccountSid", .string(alert.account.rawValue)), ("Level", .string(alert.level.title)),
            ("Payload", .string(payload(of: alert).text)), ("PayloadType", .string("application/json")),
            ("Sid", .string(alert.sid.rawValue)), ("Timestamp", .string(Timestamp.rfc3339Seconds(alert.createdAtMs))),
        ]
        return Array(JSONValue.object(fields).text.utf8)
    }

    private static func payload(of alert: Alert) -> JSONValue {
        var words = alert.details.words
        words["Msg"] = alert.text
        let info = words.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.string($0.value)) }
        return .object([
            ("resource_sid", .string(alert.resource)), ("service_sid", .optional(alert.service?.rawValue)),
            ("error_code", .string(String(alert.code))), ("more_info", .object(info)), ("webhook", webhook(of: alert)),
        ])
    }

    private static func webhook(of alert: Alert) -> JSONValue {
        guard let url = alert.details.requestURL else { return .null }
        let nothing = JSONValue.object([])
        return .object([
            ("type", .string("application/json")),
            (
                "request",
                .object([
                    ("url", .string(url)), ("method", .optional(alert.details.requestMethod)), ("headers", nothing),
                    ("parameters", nothing),
                ])
            ),
            (
                "response",
                .object([
                    ("status_code", alert.details.responseStatus.map { .integer(Int64($0)) } ?? .null),
                    ("url", .null), ("headers", nothing), ("body", .optional(alert.details.responseBody)),
                ])
            ),
        ])
    }
}

extension Alert.Level {
    fileprivate var title: String {
        switch self {
        case .error: "Error"
        case .warning: "Warning"
        }
    }
}

extension WebhookDelivery {
    /// An alert for the account's debugger webhook.
    var isForDebugger: Bool { eventType == DebuggerMessage.deliveryType }
}

extension Decision {
    /// Gives a new alert to the relay, which posts it like a stored event.
    func tellDebugger(_ alert: Alert) throws {
        guard let service = alert.service, let debugger = try rows.debugger(alert.account),
            try rows.countWaiting(webhook: debugger.sid, most: ChallengeStore.waitingPerWebhook)
                < ChallengeStore.waitingPerWebhook
        else { return }
        // A lane of its own. Every `events` has a partition 0, whose relay posts it.
        var delivery = WebhookDelivery(
            account: alert.account, service: service, webhook: debugger.sid, subject: alert.sid.rawValue, partition: 0,
            eventID: alert.sid.rawValue, eventType: DebuggerMessage.deliveryType,
            event: DebuggerMessage.bytes(of: alert),
            traceparent: nil, nowMs: nowMs)
        delivery.dueMs = nowMs
        _ = try rows.insert(delivery)
    }
}
