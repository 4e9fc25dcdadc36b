/// Writes JSON deterministically: members in the given order, no spaces.
/// It writes replies of the API, events and signed answers. Foundation's encoder guarantees no order and takes several
/// times as long; `docs/performance.md` has the measurement. Code outside the hot paths writes `Codable` types with
/// ``Foundation/JSONEncoder/line``.
package struct JSONWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    /// - Parameter capacity: bytes to reserve. More are allocated when needed.
    package init(capacity: Int = 256) { bytes.reserveCapacity(capacity) }

    /// Writes text that is already JSON, or a part of JSON.
    package mutating func raw(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Writes bytes that are already JSON, or a part of JSON.
    package mutating func raw(_ json: ArraySlice<UInt8>) { bytes.append(contentsOf: json) }

    package mutating func null() { raw("null") }
    package mutating func boolean(_ value: Bool) { raw(value ? "true" : "false") }
    package mutating func integer(_ value: Int64) { bytes.append(contentsOf: String(value).utf8) }
    /// Writes the text of a number from another JSON text.
    package mutating func number(_ text: String) { bytes.append(contentsOf: text.utf8) }
    package mutating func string(_ text: String) { JSONText.append(text, to: &bytes) }

    /// Writes the name of a member and the colon.
    package mutating func name(_ text: String) {
        JSONText.append(text, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
    }

    /// - Parameter write: writes one element, which is exactly one value.
    @inlinable
    package mutating func array<Elements: Sequence>(
        _ elements: Elements, _ write: (Elements.Element, inout JSONWriter) -> Void
    ) {
        raw("[")
        var isFirst = true
        for element in elements {
            if !isFirst { raw(",") }
            isFirst = false
            write(element, &self)
        }
        raw("]")
    }

    /// - Parameter write: writes one member, which is ``name(_:)`` and exactly one value.
    @inlinable
    package mutating func object<Members: Sequence>(
        _ members: Members, _ write: (Members.Element, inout JSONWriter) -> Void
    ) {
        raw("{")
        var isFirst = true
        for member in members {
            if !isFirst { raw(",") }
            isFirst = false
            write(member, &self)
        }
        raw("}")
    }
}
