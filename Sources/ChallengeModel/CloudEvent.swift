import Foundation
import Wire

/// The events of topic `events`, as CloudEvents 1.0 in JSON (structured mode).
public enum EventType: String, Sendable, CaseIterable {
    case factorCreated = "factor.created"
    case factorVerified = "factor.verified"
    case factorUpdated = "factor.updated"
    case factorDeleted = "factor.deleted"
    case factorUnreachable = "factor.unreachable"
    case factorNotificationsDisabled = "factor.notifications_disabled"
    case challengeCreated = "challenge.created"
    case challengeDispatched = "challenge.dispatched"
    case challengeConfirmed = "challenge.confirmed"
    case challengeApproved = "challenge.approved"
    case challengeDenied = "challenge.denied"
    case challengeExpired = "challenge.expired"
    case challengeCanceled = "challenge.canceled"
    case challengeSuperseded = "challenge.superseded"
    case challengeUndelivered = "challenge.undelivered"
    case pushFailed = "push.failed"
    case credentialFailed = "credential.failed"
    case tokensDying = "tokens.dying"
    case limitReached = "limit.reached"
    case requestRejected = "request.rejected"
    case webhookFailing = "webhook.failing"
    case webhookRecovered = "webhook.recovered"
    case webhookExhausted = "webhook.exhausted"
    case webhookDisabled = "webhook.disabled"
    case webhookTest = "webhook.test"
}

/// A writer of events, with a sequence of its own.
public enum EventWriter: Sendable, Hashable {
    /// The store's outbox, whichever Producer sends it.
    case producer
    /// The owner of a partition. The next owner's sequence is higher, because it starts at the time of day.
    case ackTracker(partition: Int32)

    /// The last part of ``CloudEvent/source``.
    var name: String {
        switch self {
        case .producer: "producer"
        case .ackTracker(let partition): "ack-tracker-\(partition)"
        }
    }
}

/// A JSON value in an event's data: enough for what events hold.
public enum EventValue: Sendable, Hashable, Codable, ExpressibleByStringLiteral {
    case string(String)
    case integer(Int64)
    case boolean(Bool)
    case list([EventValue])
    case object([String: EventValue])
    case null

    public init(stringLiteral value: String) { self = .string(value) }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .boolean(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([EventValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: EventValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .string(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .boolean(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        case .null: try container.encodeNil()
        }
    }

    public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    public var listValue: [EventValue]? { if case .list(let value) = self { value } else { nil } }
    public subscript(name: String) -> EventValue? { if case .object(let value) = self { value[name] } else { nil } }

    /// The value alone as JSON, members in the order of their names.
    public func jsonBytes() -> [UInt8] {
        var json = JSONWriter(capacity: 256)
        CloudEvent.write(self, to: &json)
        return json.bytes
    }
}

/// One event. Ids are stable over repeats: whoever derives an event again from the same facts writes the same id.
public struct CloudEvent: Sendable, Hashable, Codable {
    public let specversion: String
    public let id: String
    /// `beckon/<account sid>/<service sid>/<writer>`: sequences of different writers cannot be compared.
    public let source: String
    /// `beckon.` and an ``EventType``.
    public let type: String
    /// The SID that the record is keyed by.
    public let subject: String
    /// RFC 3339, UTC, milliseconds.
    public let time: String
    public let datacontenttype: String
    /// Ascending within one source: 20 decimal digits, so that it also sorts as text (extension `sequence`).
    public let sequence: String
    /// The record's key, which is the subject (extension `partitionkey`). Nil in events of earlier versions.
    public let partitionkey: String?
    /// RFC 3339: the event is of no use after this time (extension `expirytime`). Nil: it does not expire.
    public let expirytime: String?
    /// W3C trace context of the request that led to the event (extension `traceparent`).
    public let traceparent: String?
    public let data: [String: EventValue]

    /// - Parameters:
    ///   - id: stable, for example `<subject>/<type>` where an event happens once.
    ///   - timeMs: epoch milliseconds.
    ///   - writer: the one that counts `sequence`.
    ///   - expiresAtMs: epoch milliseconds.
    public init(
        id: String, type: EventType, account: String, service: String, subject: String, timeMs: Int64, sequence: UInt64,
        writer: EventWriter, expiresAtMs: Int64? = nil, traceparent: String? = nil, data: [String: EventValue]
    ) {
        specversion = "1.0"
        self.id = id
        source = "beckon/\(account)/\(service)/\(writer.name)"
        self.type = "beckon." + type.rawValue
        self.subject = subject
        time = Timestamp.rfc3339Milliseconds(timeMs)
        datacontenttype = "application/json"
        let digits = String(sequence)
        self.sequence = String(repeating: "0", count: 20 - digits.utf8.count) + digits
        partitionkey = subject
        expirytime = expiresAtMs.map(Timestamp.rfc3339Milliseconds)
        self.traceparent = traceparent.map { TraceContext.split($0).traceparent }
        self.data = data
    }

    public init(json: [UInt8]) throws {
        self = try JSONDecoder().decode(CloudEvent.self, from: Data(json))
    }

    /// Members in the order of their names, at every depth.
    public func jsonBytes() -> [UInt8] {
        var json = JSONWriter(capacity: 1024)
        json.raw(#"{"data":"#)
        Self.write(data, to: &json)
        json.raw(#","datacontenttype":"#)
        json.string(datacontenttype)
        if let expirytime {
            json.raw(#","expirytime":"#)
            json.string(expirytime)
        }
        json.raw(#","id":"#)
        json.string(id)
        if let partitionkey {
            json.raw(#","partitionkey":"#)
            json.string(partitionkey)
        }
        json.raw(#","sequence":"#)
        json.string(sequence)
        json.raw(#","source":"#)
        json.string(source)
        json.raw(#","specversion":"#)
        json.string(specversion)
        json.raw(#","subject":"#)
        json.string(subject)
        json.raw(#","time":"#)
        json.string(time)
        if let traceparent {
            json.raw(#","traceparent":"#)
            json.string(traceparent)
        }
        json.raw(#","type":"#)
        json.string(type)
        json.raw("}")
        return json.bytes
    }

    private static func write(_ members: [String: EventValue], to json: inout JSONWriter) {
        json.object(members.sorted { $0.key < $1.key }) { member, json in
            json.name(member.key)
            write(member.value, to: &json)
        }
    }

    fileprivate static func write(_ value: EventValue, to json: inout JSONWriter) {
        switch value {
        case .string(let text): json.string(text)
        case .integer(let number): json.integer(number)
        case .boolean(let flag): json.boolean(flag)
        case .list(let values): json.array(values) { write($0, to: &$1) }
        case .object(let members): write(members, to: &json)
        case .null: json.null()
        }
    }
}
