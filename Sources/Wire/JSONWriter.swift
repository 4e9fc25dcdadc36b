/// Writes JSON, byte for byte the same every time: members in the order given, no spaces.
///
/// Replies of the API, events and signed answers are written with it. Foundation's encoder promises no order of its own and takes
/// several times as long; `docs/performance.md` has the measurement. What is written off the hot paths from `Codable` types uses
/// ``Foundation/JSONEncoder/line``.
package struct JSONWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    /// - Parameter capacity: bytes that are reserved; more are taken as needed.
    package init(capacity: Int = 256) { bytes.reserveCapacity(capacity) }

    /// Text that is JSON already, or a part of it.
    package mutating func raw(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Bytes that are JSON already, or a part of it.
    package mutating func raw(_ json: ArraySlice<UInt8>) { bytes.append(contentsOf: json) }

    package mutating func null() { raw("null") }
    package mutating func boolean(_ value: Bool) { raw(value ? "true" : "false") }
    package mutating func integer(_ value: Int64) { bytes.append(contentsOf: String(value).utf8) }
    /// A number as it stands in another JSON text.
    package mutating func number(_ text: String) { bytes.append(contentsOf: text.utf8) }
    package mutating func string(_ text: String) { JSONText.append(text, to: &bytes) }

    /// A name of an object, with the colon behind it.
    package mutating func name(_ text: String) {
        JSONText.append(text, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
    }

    /// - Parameter write: writes one element: exactly one value.
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

    /// - Parameter write: writes one member: ``name(_:)`` and exactly one value.
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
