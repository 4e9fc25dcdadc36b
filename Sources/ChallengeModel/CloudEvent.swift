import Foundation

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
}

/// One event. Ids are stable over repeats: whoever derives an event again from the same facts writes the same id.
public struct CloudEvent: Sendable, Hashable, Codable {
    public let specversion: String
    public let id: String
    /// `beckon/<account sid>/<service sid>`.
    public let source: String
    /// `beckon.` and an ``EventType``.
    public let type: String
    /// The SID that the record is keyed by.
    public let subject: String
    /// RFC 3339, UTC, milliseconds.
    public let time: String
    public let datacontenttype: String
    /// Per writer, ascending, as decimal digits.
    public let sequence: String
    public let data: [String: EventValue]

    /// - Parameters:
    ///   - id: stable, for example `<subject>/<type>` where an event happens once.
    ///   - timeMs: epoch milliseconds.
    public init(
        id: String, type: EventType, account: String, service: String, subject: String, timeMs: Int64, sequence: UInt64,
        data: [String: EventValue]
    ) {
        specversion = "1.0"
        self.id = id
        source = "beckon/\(account)/\(service)"
        self.type = "beckon." + type.rawValue
        self.subject = subject
        time = Timestamp.rfc3339Milliseconds(timeMs)
        datacontenttype = "application/json"
        self.sequence = String(sequence)
        self.data = data
    }

    public init(json: [UInt8]) throws {
        self = try JSONDecoder().decode(CloudEvent.self, from: Data(json))
    }

    /// Members in the order of their names, at every depth. Written by hand: this is the way of every creation, and Foundation's
    /// encoder takes several times as long.
    public func jsonBytes() -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(768)
        out.append(contentsOf: #"{"data":"#.utf8)
        EventJSON.append(data, to: &out)
        for (name, value) in [
            (#","datacontenttype":"#, datacontenttype), (#","id":"#, id), (#","sequence":"#, sequence),
            (#","source":"#, source), (#","specversion":"#, specversion), (#","subject":"#, subject),
            (#","time":"#, time), (#","type":"#, type),
        ] {
            out.append(contentsOf: name.utf8)
            JSONText.append(value, to: &out)
        }
        out.append(UInt8(ascii: "}"))
        return out
    }
}

/// JSON as events hold it, without spaces.
private enum EventJSON {
    static func append(_ value: EventValue, to out: inout [UInt8]) {
        switch value {
        case .string(let text): JSONText.append(text, to: &out)
        case .integer(let number): out.append(contentsOf: String(number).utf8)
        case .boolean(let flag): out.append(contentsOf: (flag ? "true" : "false").utf8)
        case .list(let values):
            out.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                append(value, to: &out)
            }
            out.append(UInt8(ascii: "]"))
        case .object(let members): append(members, to: &out)
        case .null: out.append(contentsOf: "null".utf8)
        }
    }

    static func append(_ members: [String: EventValue], to out: inout [UInt8]) {
        out.append(UInt8(ascii: "{"))
        for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
            if index > 0 { out.append(UInt8(ascii: ",")) }
            JSONText.append(member.key, to: &out)
            out.append(UInt8(ascii: ":"))
            append(member.value, to: &out)
        }
        out.append(UInt8(ascii: "}"))
    }
}

/// Times on the wire, from and to epoch milliseconds.
public enum Timestamp {
    /// What a time from outside may be, epoch milliseconds: 1970 to the end of the year 9999, the last that RFC 3339 can write.
    public static let range: ClosedRange<Int64> = 0...253_402_300_799_999

    /// `2015-07-30T20:00:00Z`: whole seconds and a literal Z, the only form that the published SDKs parse everywhere.
    public static func rfc3339Seconds(_ epochMs: Int64) -> String {
        parts(epochMs).seconds + "Z"
    }

    /// `2015-07-30T20:00:00.123Z`.
    public static func rfc3339Milliseconds(_ epochMs: Int64) -> String {
        let (seconds, ms) = parts(epochMs)
        return seconds + "." + String(1000 + ms).dropFirst() + "Z"
    }

    /// Reads ISO 8601 with `Z` or an offset, fraction allowed. Nil when it is neither.
    public static func epochMs(_ text: String) -> Int64? {
        let date =
            (try? Date.ISO8601FormatStyle(includingFractionalSeconds: false).parse(text))
            ?? (try? Date.ISO8601FormatStyle(includingFractionalSeconds: true).parse(text))
        guard let epochMs = date.map({ ($0.timeIntervalSince1970 * 1000).rounded() }) else { return nil }
        return Int64(exactly: epochMs)
    }

    public static func nowMs() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Of every number: what RFC 3339 cannot write shows as the nearest time that it can.
    private static func parts(_ epochMs: Int64) -> (seconds: String, milliseconds: Int) {
        let epochMs = min(max(epochMs, range.lowerBound), range.upperBound)
        let floorSeconds = epochMs / 1000
        var time = time_t(floorSeconds)
        var fields = tm()
        gmtime_r(&time, &fields)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date = "\(fields.tm_year + 1900)-\(two(fields.tm_mon + 1))-\(two(fields.tm_mday))"
        return (
            "\(date)T\(two(fields.tm_hour)):\(two(fields.tm_min)):\(two(fields.tm_sec))",
            Int(epochMs - floorSeconds * 1000)
        )
    }
}
