/// `application/x-www-form-urlencoded`, as helper libraries and the mobile SDKs send it.
/// Pairs are split only at `&`, and names from values at the first `=`. The characters `;`, `/`, `=`, `:` and `?` in
/// values need no escape, because one SDK sends them unescaped. `+` and `%20` are spaces. Names are case-sensitive and
/// may repeat.
package struct Form: Sendable, Equatable {
    package struct Pair: Sendable, Equatable {
        package let name: String
        package let value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// The reason why bytes are not a form.
    package enum Problem: Error, Equatable {
        /// More than ``Form/maxPairs``.
        case tooMany
        /// A name has a broken escape, or is not UTF-8.
        case name
        /// The value of this name has a broken escape, or is not UTF-8.
        case value(name: String)
    }

    /// The pairs in the order of the text.
    package let pairs: [Pair]

    package static let maxPairs = 200

    package init(pairs: [Pair] = []) {
        self.pairs = pairs
    }

    package init(_ bytes: some Collection<UInt8>) throws(Problem) {
        try self.init(bytes: Array(bytes)[...])
    }

    // Not generic: a generic body that is not specialised costs a call for each byte.
    private init(bytes: ArraySlice<UInt8>) throws(Problem) {
        var pairs: [Pair] = []
        for segment in bytes.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: true) {
            guard pairs.count < Self.maxPairs else { throw .tooMany }
            let equals = segment.firstIndex(of: UInt8(ascii: "=")) ?? segment.endIndex
            let rawName = segment[..<equals]
            let rawValue = equals == segment.endIndex ? segment[equals...] : segment[segment.index(after: equals)...]
            guard let name = Percent.decode(rawName, plusIsSpace: true) else { throw .name }
            guard let value = Percent.decode(rawValue, plusIsSpace: true) else { throw .value(name: name) }
            pairs.append(Pair(name: name, value: value))
        }
        self.init(pairs: pairs)
    }

    /// The value of the first pair with this name (case-sensitive).
    package subscript(name: String) -> String? { pairs.first { $0.name == name }?.value }

    /// `name=value&…` in the given order; everything but unreserved characters (RFC 3986) is percent-encoded.
    package static func encode(_ fields: [(name: String, value: String)]) -> String {
        fields.map { "\(Percent.encode($0.name))=\(Percent.encode($0.value))" }.joined(separator: "&")
    }

    /// The value of query item `name` (case-sensitive) in a URL, decoded.
    package static func queryItem(_ name: String, of url: String) -> String? {
        guard let cut = url.utf8.firstIndex(of: UInt8(ascii: "?")) else { return nil }
        let query = url.utf8[url.utf8.index(after: cut)...].prefix { $0 != UInt8(ascii: "#") }
        return (try? Form(query))?[name]
    }
}
