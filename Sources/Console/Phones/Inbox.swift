import Simulators
import Wire

/// What reached the phones, for tests: the newest push that fits, whole, in one call.
struct Inbox: Sendable {
    let desk: PhoneDesk

    /// A push that a test waits for. What is nil fits everything.
    struct Filter: Sendable {
        var phone: String?
        var identity: String?
        var challenge: String?
        /// `visible`, `background`.
        var kind: String?
        /// Only later ones: epoch milliseconds of the provider's acceptance.
        var afterMs: Int64?

        init(_ request: ConsoleRequest) throws {
            phone = request.item("phone")
            identity = request.item("identity")
            challenge = request.item("challenge")
            kind = request.item("kind")
            afterMs = request.item("after").flatMap { Int64($0) }
        }
    }

    /// Waits for one, at most `longest`.
    func latest(_ filter: Filter, atMost longest: Duration) async throws -> JSONValue? {
        let end = ContinuousClock.now + longest
        while true {
            let version = desk.version
            if let found = newest(filter) { return found }
            let left = end - ContinuousClock.now
            guard left > .zero else { return nil }
            await desk.change(after: version, atMost: min(left, .seconds(1)))
            try Task.checkCancellation()
        }
    }

    private func newest(_ filter: Filter) -> JSONValue? {
        let pushes = desk.seats.filter {
            (filter.phone == nil || $0.id == filter.phone) && (filter.identity == nil || $0.identity == filter.identity)
        }.flatMap { seat in seat.phone.pushes.map { (seat, $0) } }
        let fitting = pushes.filter { _, push in
            (filter.challenge == nil || push.values["challenge_sid"] == filter.challenge)
                && (filter.kind == nil || (push.values["kind"] ?? "visible") == filter.kind)
                && push.acceptedAtMs > filter.afterMs ?? 0
        }
        return fitting.max { $0.1.acceptedAtMs < $1.1.acceptedAtMs }.map { Self.json($0.0, $0.1) }
    }

    private static func json(_ seat: PhoneDesk.Seat, _ push: SimulatedPush) -> JSONValue {
        .object(
            [
                ("phone", .string(seat.id)), ("identity", .string(seat.identity)),
                ("accepted_at", .string(Timestamp.rfc3339Milliseconds(push.acceptedAtMs))),
                ("accepted_at_ms", .integer(push.acceptedAtMs)),
            ] + RawPush(push).members(isForPeople: false))
    }
}

/// A push as its phone got it.
struct RawPush {
    let push: SimulatedPush

    init(_ push: SimulatedPush) { self.push = push }

    /// - Parameter isForPeople: tokens are left out.
    func members(isForPeople: Bool) -> [(name: String, value: JSONValue)] {
        let values = push.values.sorted { $0.key < $1.key }.map { name, value in
            (name: name, value: JSONValue.string(isForPeople && name.hasSuffix("token") ? "…" : value))
        }
        var members: [(name: String, value: JSONValue)] = [
            ("provider", .string(push.provider.rawValue)), ("message_id", .string(push.messageID)),
            ("app_id", .string(push.appID)), ("push_type", .string(push.pushType)),
            ("priority", .integer(Int64(push.priority))), ("collapse_key", .optional(push.collapseKey)),
            ("alert", .optional(push.alert)), ("values", .object(values)),
        ]
        if let expiry = push.expiresAtMs {
            members.append(("stored_until", expiry > 0 ? .string(Timestamp.rfc3339Milliseconds(expiry)) : .null))
        }
        return members
    }

    /// A line per member, for reading.
    var text: String {
        members(isForPeople: true).map { name, value in
            guard let inner = value.members, name == "values" else { return "\(name): \(Self.word(value))" }
            return "values:\n" + inner.map { "  \($0.name): \(Self.word($0.value))" }.joined(separator: "\n")
        }.joined(separator: "\n")
    }

    private static func word(_ value: JSONValue) -> String { value.stringValue ?? value.text }
}
