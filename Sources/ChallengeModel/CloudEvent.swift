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
    /// `2015-07-30T20:00:00Z`: whole seconds and a literal Z, the only form that the published SDKs parse everywhere.
    public static func rfc3339Seconds(_ epochMs: Int64) -> String {
        parts(epochMs).seconds + "Z"
    }

    /// `2015-07-30T20:00:00.123Z`.
    public static func rfc3339Milliseconds(_ epochMs: Int64) -> String {
        let (seconds, ms) = parts(epochMs)
        return seconds + "." + String(1000 + ms).dropFirst() + "Z"
    }

    /// Reads a time of RFC 3339, `2015-07-30T20:00:00.123Z` or with an offset; the colon of an offset may be left out, as ISO 8601
    /// and `%z` of several languages do. Digits of the fraction behind the third are cut off.
    /// - Returns: nil for anything else, for something behind the time, and for a day, hour, minute, second or offset that does
    ///   not exist. A leap second counts as none: this clock has no number for it.
    public static func epochMs(_ text: String) -> Int64? {
        var rest = Array(text.utf8)[...]
        func take(_ bytes: String) -> Bool {
            guard let first = rest.first, bytes.utf8.contains(first) else { return false }
            rest.removeFirst()
            return true
        }
        func number(_ digits: Int, _ range: ClosedRange<Int64>) -> Int64? {
            guard rest.count >= digits else { return nil }
            var value: Int64 = 0
            for _ in 0..<digits {
                guard let digit = digit() else { return nil }
                value = value * 10 + digit
            }
            return range.contains(value) ? value : nil
        }
        func digit() -> Int64? {
            guard let first = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return nil }
            rest.removeFirst()
            return Int64(first - UInt8(ascii: "0"))
        }
        guard let year = number(4, 1...9999), take("-"), let month = number(2, 1...12), take("-"),
            let day = number(2, 1...days(in: month, of: year)), take("Tt"), let hour = number(2, 0...23), take(":"),
            let minute = number(2, 0...59), take(":"), let second = number(2, 0...59)
        else { return nil }
        var milliseconds: Int64 = 0
        if take(".") {
            var unit: Int64 = 100
            guard let first = digit() else { return nil }
            milliseconds = first * unit
            while let next = digit() {
                unit /= 10
                milliseconds += next * unit
            }
        }
        var offset: Int64 = 0
        if !take("Zz") {
            guard let sign = rest.first, take("+-"), let hours = number(2, 0...23) else { return nil }
            _ = take(":")
            guard let minutes = number(2, 0...59) else { return nil }
            offset = (hours * 60 + minutes) * (sign == UInt8(ascii: "-") ? -1 : 1)
        }
        guard rest.isEmpty else { return nil }
        let minutes = (daysSince1970(year, month, day) * 24 + hour) * 60 + minute - offset
        return (minutes * 60 + second) * 1000 + milliseconds
    }

    private static func days(in month: Int64, of year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Of the Gregorian calendar, for years from 1: H. Hinnant, chrono-compatible low-level date algorithms, `days_from_civil`.
    private static func daysSince1970(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let year = month <= 2 ? year - 1 : year
        let era = year / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    public static func nowMs() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    private static func parts(_ epochMs: Int64) -> (seconds: String, milliseconds: Int) {
        let floorSeconds = epochMs >= 0 ? epochMs / 1000 : (epochMs - 999) / 1000
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
