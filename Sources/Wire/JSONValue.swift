/// A JSON value. Members keep their order. Numbers that are not 64-bit integers keep their text.
/// Two values are equal when they are equal as parsed JSON: members in any order, strings by their scalars (without
/// normalisation), integers by value.
package enum JSONValue: Sendable {
    case null
    case boolean(Bool)
    case integer(Int64)
    /// A number that is not a 64-bit integer, as its original text.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([(name: String, value: JSONValue)])

    /// The string, or null.
    package static func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }

    package var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    package var integerValue: Int64? { if case .integer(let value) = self { value } else { nil } }
    package var elements: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
    package var members: [(name: String, value: JSONValue)]? {
        if case .object(let members) = self { members } else { nil }
    }

    /// The member of an object; nil when it is missing, or when this value is not an object.
    package subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// The object with one more member at its end. A value that is not an object is returned unchanged.
    package func adding(_ name: String, _ value: JSONValue) -> JSONValue {
        guard case .object(var members) = self else { return self }
        members.append((name, value))
        return .object(members)
    }
}

extension JSONValue: Equatable {
    package static func == (lhs: JSONValue, rhs: JSONValue) -> Bool {
        switch (lhs, rhs) {
        case (.null, .null): return true
        case (.boolean(let left), .boolean(let right)): return left == right
        case (.integer(let left), .integer(let right)): return left == right
        case (.number(let left), .number(let right)): return left == right
        case (.string(let left), .string(let right)): return left.utf8.elementsEqual(right.utf8)
        case (.array(let left), .array(let right)): return left == right
        case (.object(let left), .object(let right)):
            guard left.count == right.count else { return false }
            return left.allSatisfy { rhs[$0.name] == $0.value }
        default: return false
        }
    }
}

// MARK: - Writing

extension JSONValue {
    package var bytes: [UInt8] {
        var json = JSONWriter(capacity: 1024)
        write(to: &json)
        return json.bytes
    }

    package var text: String { String(decoding: bytes, as: UTF8.self) }

    package func write(to json: inout JSONWriter) {
        switch self {
        case .null: json.null()
        case .boolean(let value): json.boolean(value)
        case .integer(let value): json.integer(value)
        case .number(let value): json.number(value)
        case .string(let value): json.string(value)
        case .array(let values): json.array(values) { $0.write(to: &$1) }
        case .object(let members):
            json.object(members) { member, json in
                json.name(member.name)
                member.value.write(to: &json)
            }
        }
    }
}
