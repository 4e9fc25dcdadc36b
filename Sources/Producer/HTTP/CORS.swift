/// Which web pages may call, by the exact text of their `Origin`. None: no header of CORS is ever sent, and no browser page of
/// another origin reads a reply.
struct CORS: Sendable {
    private let origins: Set<String>

    init(origins: [String]) {
        self.origins = Set(origins.map { $0.lowercased() })
    }

    /// Headers for a reply; empty for an origin that is not on the list.
    func headers(origin: String?, isPreflight: Bool) -> [(name: String, value: String)] {
        guard let origin, origins.contains(origin.lowercased()) else {
            return origins.isEmpty ? [] : [("Vary", "Origin")]
        }
        var headers = [
            ("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true"), ("Vary", "Origin"),
            (
                "Access-Control-Expose-Headers",
                "Date, Twilio-Request-Id, Twilio-Verify-Signature-Fields, Beckon-Ignored, ETag, Retry-After"
            ),
        ]
        if isPreflight {
            headers += [
                ("Access-Control-Allow-Methods", "GET, POST, DELETE"),
                ("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, traceparent"),
                ("Access-Control-Max-Age", "600"),
            ]
        }
        return headers
    }

    func allows(_ origin: String?) -> Bool { origin.map { origins.contains($0.lowercased()) } ?? false }
}
