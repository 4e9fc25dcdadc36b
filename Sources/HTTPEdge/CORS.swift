/// The web pages that may call an API from a browser, by the exact text of their `Origin`. Without any, no CORS header
/// is sent, so no page of another origin can read a reply.
public struct CORS: Sendable {
    public typealias Headers = [(name: String, value: String)]

    /// The rights of the pages on the list.
    public struct Rules: Sendable {
        /// Methods in addition to HEAD and OPTIONS.
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

    /// The CORS headers of a reply. An origin that is not on the list gets no header that lets it read the reply.
    public func headers(origin: String?, isPreflight: Bool) -> Headers {
        guard !origins.isEmpty else { return [] }
        guard let origin, origins.contains(origin.lowercased()) else { return [("Vary", "Origin")] }
        return [("Access-Control-Allow-Origin", origin)] + shared + (isPreflight ? preflight : [])
    }
}
