/// Which web pages may call, by the exact text of their `Origin`. None: no header of CORS is ever sent, and no browser page of
/// another origin reads a reply.
public struct CORS: Sendable {
    public typealias Headers = [(name: String, value: String)]

    /// What an API lets the pages on its list do.
    public struct Rules: Sendable {
        /// Methods beside HEAD and OPTIONS.
        public var methods: [String]
        /// Request headers that a page may set.
        public var requestHeaders: [String]
        /// Reply headers that a page may read.
        public var replyHeaders: [String]

        public init(methods: [String], requestHeaders: [String], replyHeaders: [String]) {
            self.methods = methods
            self.requestHeaders = requestHeaders
            self.replyHeaders = replyHeaders
        }
    }

    private let origins: Set<String>
    private let shared: Headers
    private let preflight: Headers

    /// - Parameter origins: compared without case.
    public init(origins: [String], rules: Rules) {
        self.origins = Set(origins.map { $0.lowercased() })
        shared = [
            ("Access-Control-Allow-Credentials", "true"), ("Vary", "Origin"),
            ("Access-Control-Expose-Headers", rules.replyHeaders.joined(separator: ", ")),
        ]
        preflight = [
            ("Access-Control-Allow-Methods", rules.methods.joined(separator: ", ")),
            ("Access-Control-Allow-Headers", rules.requestHeaders.joined(separator: ", ")),
            ("Access-Control-Max-Age", "600"),
        ]
    }

    /// Headers for a reply; for an origin that is not on the list none that lets it read.
    public func headers(origin: String?, isPreflight: Bool) -> Headers {
        guard !origins.isEmpty else { return [] }
        guard let origin, origins.contains(origin.lowercased()) else { return [("Vary", "Origin")] }
        return [("Access-Control-Allow-Origin", origin)] + shared + (isPreflight ? preflight : [])
    }
}
