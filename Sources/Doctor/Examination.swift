public import ChallengeModel
public import GuardedHTTP
public import KafkaClient
public import PushGateway
public import ServiceSupport
public import Storage

/// The store of a role.
public enum ExaminedStore: Sendable, Hashable {
    case file(String)
    case database(PostgresSettings)

    var name: String {
        switch self {
        case .file(let path): path
        case .database(let settings): settings.description
        }
    }

    public static func == (left: ExaminedStore, right: ExaminedStore) -> Bool { left.name == right.name }
    public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// How the webhook relay reaches its customers' endpoints.
public struct ExaminedWebhooks: Sendable {
    public var rules: OutboundRules
    public var nameServers: NameServers?
    public var caFile: String?
    public var identity: ClientIdentity?

    public init(
        rules: OutboundRules, nameServers: NameServers? = nil, caFile: String? = nil, identity: ClientIdentity? = nil
    ) {
        self.rules = rules
        self.nameServers = nameServers
        self.caFile = caFile
        self.identity = identity
    }
}

/// A file that a role reads, and who may read it.
public struct ExaminedFile: Sendable, Hashable {
    public enum Content: Sendable, Hashable {
        case configuration
        case certificates
        /// A private key, or a configuration file with secrets in it.
        case secret
    }

    public var path: String
    /// The setting that names it.
    public var setting: String
    public var content: Content

    public init(_ path: String, setting: String, content: Content) {
        self.path = path
        self.setting = setting
        self.content = content
    }
}

/// What topic `configuration` holds for dispatchers.
public struct CredentialReading: Sendable {
    public var credentials: [ProviderCredential] = []
    /// Records that cannot be used: the reason, and the key that is missing or wrong.
    public var faults: [String] = []
    /// False: the deadline came before its end.
    public var isWhole = false

    public init() {}
}

/// The configuration of one role, as its own reader made it.
public struct ExaminedRole: Sendable {
    public let role: Role
    /// Why its reader refuses the configuration; nil: it does not. The parts below are then as far as they could be
    /// read.
    public var fault: String?
    public var kafka: KafkaConfiguration?
    public var topics = TopicNames()
    public var recordKeys: KeyRing?
    public var storeKeys: KeyRing?
    public var groups: [String] = []
    public var gateway: PushGatewayConfiguration?
    /// Reads topic `configuration` as a dispatcher does, within the time given.
    public var readCredentials: (@Sendable (Duration) async -> CredentialReading)?
    public var store: ExaminedStore?
    public var webhooks: ExaminedWebhooks?
    public var files: [ExaminedFile] = []
    /// Connections that its listeners take; nil: it has none besides the admin port.
    public var connections: Int?
    /// Connections to the database that it keeps open.
    public var storeConnections: Int?

    public init(_ role: Role) { self.role = role }
}

/// What is examined, and how long.
public struct Examination: Sendable {
    public var roles: [ExaminedRole]
    /// Checks that run; empty: all.
    public var only: Set<String> = []
    /// For each look; default 3 s.
    public var patience: Duration = .seconds(3)

    public init(_ roles: [ExaminedRole]) { self.roles = roles }

    var kafka: KafkaConfiguration? { roles.lazy.compactMap(\.kafka).first }
    var topics: TopicNames { roles.first { $0.kafka != nil }?.topics ?? TopicNames() }
}
