/// The paths that a listener serves, as templates: `/v2/Services/{sid}`. It finds the template that matches the path of
/// a request.
public struct PathTable: Sendable {
    /// A template that matches: its position, and the values of its braces in order.
    public struct Match: Sendable, Equatable {
        public let index: Int
        public let values: [String]
    }

    private struct Template: Sendable {
        let index: Int
        /// Nil: any value.
        let segments: [String?]
    }

    /// Templates by their number of segments.
    private let templates: [[Template]]

    /// - Parameter paths: templates that begin with a slash and do not end with one. No two of them match the same
    ///   path.
    public init(_ paths: [String]) {
        var templates: [[Template]] = []
        for (index, path) in paths.enumerated() {
            let segments = path.dropFirst().split(separator: "/").map { $0.hasPrefix("{") ? nil : String($0) }
            while templates.count <= segments.count { templates.append([]) }
            templates[segments.count].append(Template(index: index, segments: segments))
        }
        self.templates = templates
    }

    /// - Parameters:
    ///   - path: the path as it was sent, without the query.
    ///   - decode: returns a segment without its escapes; nil: no template matches. Called for each value, and for each
    ///     segment with a `%`.
    public func match(_ path: Substring, decode: (Substring) -> String?) -> Match? {
        let bytes = path.utf8
        guard bytes.first == UInt8(ascii: "/") else { return nil }
        var segments: [Substring] = []
        segments.reserveCapacity(templates.count)
        /// The segments that are decoded, one bit each.
        var decoded: UInt64 = 0
        var start = bytes.index(after: bytes.startIndex)
        var index = start
        var isEscaped = false
        while true {
            let byte = index == bytes.endIndex ? UInt8(ascii: "/") : bytes[index]
            if byte == UInt8(ascii: "%") { isEscaped = true }
            if byte == UInt8(ascii: "/") {
                guard start < index, segments.count + 1 < templates.count else { return nil }
                if isEscaped {
                    guard let text = decode(path[start..<index]), !text.isEmpty else { return nil }
                    decoded |= 1 << UInt64(segments.count)
                    segments.append(text[...])
                    isEscaped = false
                } else {
                    segments.append(path[start..<index])
                }
                if index == bytes.endIndex { break }
                start = bytes.index(after: index)
            }
            index = bytes.index(after: index)
        }
        for template in templates[segments.count] where Self.fits(template.segments, segments) {
            var values: [String] = []
            for (position, segment) in template.segments.enumerated() where segment == nil {
                let isDecoded = decoded & 1 << UInt64(position) != 0
                guard let value = isDecoded ? String(segments[position]) : decode(segments[position]) else {
                    return nil
                }
                values.append(value)
            }
            return Match(index: template.index, values: values)
        }
        return nil
    }

    private static func fits(_ template: [String?], _ segments: [Substring]) -> Bool {
        for (literal, segment) in zip(template, segments) {
            guard let literal else { continue }
            guard literal.utf8.count == segment.utf8.count, literal.utf8.elementsEqual(segment.utf8) else {
                return false
            }
        }
        return true
    }
}
