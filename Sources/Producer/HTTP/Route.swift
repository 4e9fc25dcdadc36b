import ChallengeModel
import Wire

/// The resources served, as their paths spell them. Path parameters are percent-decoded and not yet checked.
enum Route: Equatable, Sendable {
    case services
    case service(String)
    case accessTokens(service: String)
    case accessToken(service: String, String)
    case sessionTokens(service: String)
    case webhooks(service: String)
    case webhook(service: String, String)
    case entities(service: String)
    case entity(service: String, identity: String)
    case factors(service: String, identity: String)
    case factor(service: String, identity: String, String)
    case challenges(service: String, identity: String)
    case challenge(service: String, identity: String, String)
    case notifications(service: String, identity: String, challenge: String)
    case challengeReceipts(service: String, identity: String, challenge: String)
    case timeline(service: String, identity: String, challenge: String)
    case receipts
    case hmsReceipts
    case auditEvents
    case credentials
    case credential(String)

    /// - Parameter path: without its query. Nil when nothing is served there.
    init?(path: some StringProtocol) {
        guard path.hasPrefix("/") else { return nil }
        var parts: [String] = []
        for segment in path.dropFirst().utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            guard let part = Percent.decode(segment, plusIsSpace: false), !part.isEmpty, parts.count < 8,
                PlainText.refused(in: part, .line) == nil
            else { return nil }
            parts.append(part)
        }
        guard let version = parts.first else { return nil }
        switch (version, Array(parts.dropFirst())) {
        case ("v1", let rest): self.init(credentials: rest)
        case ("v2", let rest): self.init(verify: rest)
        default: return nil
        }
    }

    private init?(credentials parts: [String]) {
        if parts == ["AuditEvents"] {
            self = .auditEvents
            return
        }
        guard parts.first == "Credentials" else { return nil }
        switch parts.count {
        case 1: self = .credentials
        case 2: self = .credential(parts[1])
        default: return nil
        }
    }

    private init?(verify parts: [String]) {
        if parts == ["Receipts"] {
            self = .receipts
            return
        }
        if parts == ["HmsReceipts"] {
            self = .hmsReceipts
            return
        }
        guard parts.first == "Services" else { return nil }
        let (service, collection) = (parts.count > 1 ? parts[1] : "", parts.count > 2 ? parts[2] : "")
        switch (parts.count, collection) {
        case (1, _): self = .services
        case (2, _): self = .service(service)
        case (3, "AccessTokens"): self = .accessTokens(service: service)
        case (4, "AccessTokens"): self = .accessToken(service: service, parts[3])
        case (3, "SessionTokens"): self = .sessionTokens(service: service)
        case (3, "Webhooks"): self = .webhooks(service: service)
        case (4, "Webhooks"): self = .webhook(service: service, parts[3])
        case (3, "Entities"): self = .entities(service: service)
        case (4, "Entities"): self = .entity(service: service, identity: parts[3])
        case (5, "Entities") where parts[4] == "Factors": self = .factors(service: service, identity: parts[3])
        case (6, "Entities") where parts[4] == "Factors":
            self = .factor(service: service, identity: parts[3], parts[5])
        case (5, "Entities") where parts[4] == "Challenges":
            self = .challenges(service: service, identity: parts[3])
        case (6, "Entities") where parts[4] == "Challenges":
            self = .challenge(service: service, identity: parts[3], parts[5])
        case (7, "Entities") where parts[4] == "Challenges" && parts[6] == "Notifications":
            self = .notifications(service: service, identity: parts[3], challenge: parts[5])
        case (7, "Entities") where parts[4] == "Challenges" && parts[6] == "Receipts":
            self = .challengeReceipts(service: service, identity: parts[3], challenge: parts[5])
        case (7, "Entities") where parts[4] == "Challenges" && parts[6] == "Timeline":
            self = .timeline(service: service, identity: parts[3], challenge: parts[5])
        default: return nil
        }
    }

    /// For metrics and logs: the path with names in place of values.
    var template: String {
        switch self {
        case .services: "/v2/Services"
        case .service: "/v2/Services/{sid}"
        case .accessTokens: "/v2/Services/{sid}/AccessTokens"
        case .accessToken: "/v2/Services/{sid}/AccessTokens/{sid}"
        case .sessionTokens: "/v2/Services/{sid}/SessionTokens"
        case .webhooks: "/v2/Services/{sid}/Webhooks"
        case .webhook: "/v2/Services/{sid}/Webhooks/{sid}"
        case .entities: "/v2/Services/{sid}/Entities"
        case .entity: "/v2/Services/{sid}/Entities/{identity}"
        case .factors: "/v2/Services/{sid}/Entities/{identity}/Factors"
        case .factor: "/v2/Services/{sid}/Entities/{identity}/Factors/{sid}"
        case .challenges: "/v2/Services/{sid}/Entities/{identity}/Challenges"
        case .challenge: "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}"
        case .notifications: "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Notifications"
        case .challengeReceipts: "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Receipts"
        case .timeline: "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Timeline"
        case .receipts: "/v2/Receipts"
        case .hmsReceipts: "/v2/HmsReceipts"
        case .auditEvents: "/v1/AuditEvents"
        case .credentials: "/v1/Credentials"
        case .credential: "/v1/Credentials/{sid}"
        }
    }

    /// What `OPTIONS` answers (RFC 9110, section 10.2.1): HEAD goes with GET. A 405 names ``methods`` alone, as the original API does.
    var allow: String {
        (methods.flatMap { $0 == "GET" ? ["GET", "HEAD"] : [$0] } + ["OPTIONS"]).joined(separator: ", ")
    }

    /// A GET answers a page of resources.
    var isList: Bool {
        switch self {
        case .services, .webhooks, .entities, .factors, .challenges, .credentials, .auditEvents: true
        default: false
        }
    }

    /// For `OPTIONS *`.
    static let everyMethod = "GET, HEAD, POST, DELETE, OPTIONS"

    /// What is served, beside HEAD and OPTIONS.
    var methods: [String] {
        switch self {
        case .services, .entities, .factors, .challenges, .credentials, .webhooks: ["GET", "POST"]
        case .service, .factor, .webhook: ["GET", "POST", "DELETE"]
        case .challenge: ["GET", "POST"]
        case .entity, .credential: ["GET", "DELETE"]
        case .accessToken, .timeline, .auditEvents: ["GET"]
        case .accessTokens, .sessionTokens, .notifications, .challengeReceipts, .receipts, .hmsReceipts: ["POST"]
        }
    }
}
