import ChallengeModel
import HTTPEdge
import Wire

/// A resource of the API: its path and its operations.
struct Route: Sendable {
    /// The subject of an audit event for a refusal: the caller, or the last SID of the path.
    enum Subject: Sendable { case caller, challenge, factor }

    /// The path with names in braces instead of values. It is also used in metrics and logs.
    let template: String
    let subject: Subject
    let operations: [Operation]
    /// True when callers other than backends may use an operation. The address for devices then serves the resource.
    let isForDevices: Bool
    /// For a 405: `GET, POST`, as the original API has it.
    let methods: String
    /// For a 405, for people: `GET or POST`.
    let expected: String
    /// For `OPTIONS` (RFC 9110, section 10.2.1): HEAD goes with GET.
    let allow: String

    init(_ template: String, of subject: Subject = .caller, _ operations: Operation...) {
        self.template = template
        self.subject = subject
        self.operations = operations
        isForDevices = operations.contains { $0.device != .none }
        let names = operations.map(\.method.rawValue)
        methods = names.joined(separator: ", ")
        expected = names.joined(separator: " or ")
        allow = (names.flatMap { $0 == "GET" ? ["GET", "HEAD"] : [$0] } + ["OPTIONS"]).joined(separator: ", ")
    }

    func operation(_ method: String) -> Operation? { operations.first { $0.method.rawValue == method } }

    /// For `OPTIONS *`.
    static let everyMethod = "GET, HEAD, POST, DELETE, OPTIONS"
}

/// The route of a request's path, and the values in the path, percent-decoded and not checked yet.
struct RouteMatch: Sendable, Equatable {
    /// The position in ``Route/table``.
    let index: Int
    let values: [String]

    private static let paths = PathTable(Route.table.map(\.template))

    /// - Parameter path: the path without its query. Nil when no route matches.
    init?(path: Substring) {
        let match = Self.paths.match(path) { segment in
            guard PlainText.refused(in: segment, .line) == nil else { return nil }
            guard segment.utf8.contains(UInt8(ascii: "%")) else { return String(segment) }
            guard let text = Percent.decode(segment.utf8, plusIsSpace: false), PlainText.refused(in: text, .line) == nil
            else { return nil }
            return text
        }
        guard let match else { return nil }
        (index, values) = (match.index, match.values)
    }

    var route: Route { Route.table[index] }
}
