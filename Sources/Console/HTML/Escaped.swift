/// A piece of HTML in which every text from outside is escaped. Only ``trusted(_:)`` makes one without escaping, and it
/// takes literals only, so that `grep "trusted("` finds every place with raw HTML.
struct Escaped: Sendable, Hashable {
    fileprivate(set) var html: String

    /// Escapes `text`, so that it is good as content and as the value of an attribute in double quotes.
    init(_ text: String) {
        guard text.utf8.contains(where: { Self.special($0) != nil }) else {
            html = text
            return
        }
        var html = ""
        html.reserveCapacity(text.utf8.count + 16)
        for scalar in text.unicodeScalars {
            if scalar.isASCII, let escape = Self.special(UInt8(scalar.value)) {
                html += escape
            } else {
                html.unicodeScalars.append(scalar)
            }
        }
        self.html = html
    }

    fileprivate init(html: String) { self.html = html }

    /// Raw HTML of this program.
    static func trusted(_ literal: StaticString) -> Escaped { Escaped(html: literal.description) }

    static let nothing = Escaped(html: "")

    private static func special(_ byte: UInt8) -> String? {
        switch byte {
        case UInt8(ascii: "&"): "&amp;"
        case UInt8(ascii: "<"): "&lt;"
        case UInt8(ascii: ">"): "&gt;"
        case UInt8(ascii: "\""): "&quot;"
        case UInt8(ascii: "'"): "&#39;"
        default: nil
        }
    }

    static func + (left: Escaped, right: Escaped) -> Escaped { Escaped(html: left.html + right.html) }

    mutating func append(_ other: Escaped) { html += other.html }
}

/// Builds the content of an element: a `String` is escaped, an ``Escaped`` stands as it is.
@resultBuilder
enum Markup {
    static func buildExpression(_ text: String) -> Escaped { Escaped(text) }
    static func buildExpression(_ piece: Escaped) -> Escaped { piece }
    static func buildExpression(_ pieces: [Escaped]) -> Escaped { buildArray(pieces) }
    static func buildBlock(_ pieces: Escaped...) -> Escaped { buildArray(pieces) }
    static func buildOptional(_ piece: Escaped?) -> Escaped { piece ?? .nothing }
    static func buildEither(first piece: Escaped) -> Escaped { piece }
    static func buildEither(second piece: Escaped) -> Escaped { piece }
    static func buildArray(_ pieces: [Escaped]) -> Escaped {
        var all = Escaped.nothing
        for piece in pieces { all.append(piece) }
        return all
    }
}

/// The attributes of an element, in order. Nil: the attribute is left out; an empty text: the attribute has no value.
typealias Attributes = KeyValuePairs<StaticString, String?>

/// An element with content.
func tag(_ name: StaticString, _ attributes: Attributes = [:], @Markup _ content: () -> Escaped) -> Escaped {
    Escaped(html: opening(name, attributes) + content().html + "</\(name)>")
}

/// An element without content that has no end tag (`input`, `meta`), and an empty element of SVG.
func tag(_ name: StaticString, _ attributes: Attributes) -> Escaped {
    Escaped(html: opening(name, attributes))
}

/// An empty element of SVG.
func shape(_ name: StaticString, _ attributes: Attributes) -> Escaped {
    Escaped(html: opening(name, attributes) + "</\(name)>")
}

private func opening(_ name: StaticString, _ attributes: Attributes) -> String {
    var html = "<\(name)"
    for (name, value) in attributes {
        guard let value else { continue }
        html += value.isEmpty ? " \(name)" : " \(name)=\"\(Escaped(value).html)\""
    }
    return html + ">"
}
