public import ChallengeModel
import Foundation
import HTTPEdge
public import KafkaClient
public import Logging
public import PushProviders

/// All configuration keys. docs/configuration.md shows the same table, and a test compares the two.
extension Settings {
    // MARK: Every role
    public static let config = Setting.text(
        "config", type: "path", roles: Role.everyone, "YAML file with more settings.")
    public static let logLevel = Setting(
        SettingDescription(
            key: "log.level", type: "level", defaultText: "info",
            range: Logger.Level.allCases.map(\.rawValue).joined(separator: ", "),
            isSecret: false, isRequired: false, roles: Role.everyone,
            summary: "Lowest level of the log lines that go to stderr. It can be changed while a role runs."),
        default: Logger.Level.info
    ) { Logger.Level(rawValue: $0.lowercased()) }
    public static let logFormat = Setting(
        SettingDescription(
            key: "log.format", type: "format", defaultText: LogFormat.text.rawValue,
            range: LogFormat.allCases.map(\.rawValue).joined(separator: ", "),
            isSecret: false, isRequired: false, roles: Role.everyone,
            summary: "Form of the log lines: text, or one JSON object per line."),
        default: LogFormat.text
    ) { LogFormat(rawValue: $0.lowercased()) }
    public static let readyFile = Setting.text(
        "readyFile", type: "path", roles: Role.everyone,
        "File that gets the addresses as JSON (mode 0600) when the role is ready.")
    public static let adminHost = Setting.text(
        "admin.host", type: "address", default: "127.0.0.1", roles: Role.everyone,
        "Address of /livez, /readyz and /metrics.")
    public static let adminPort = Setting.integer(
        "admin.port", type: "port", default: 9464, range: 0...65_535, roles: Role.everyone,
        "Port of /livez, /readyz and /metrics; 0: any free one.")
    public static let adminToken = Setting.text(
        "admin.token", type: "text", range: "at least 16 characters", isSecret: true, roles: Role.workers,
        "Bearer token for the log level and the role's own pages on the admin port; without it, only a loopback address serves them.",
        check: { $0.utf8.count >= 16 })
    public static let shutdownTimeout = Setting.milliseconds(
        "shutdown.timeout", default: 25_000, range: 1_000...300_000, roles: Role.everyone,
        "Longest time to drain after SIGTERM; after that the process exits. Set it below the orchestrator's grace period (30 s)."
    )

    // MARK: Tracing
    public static let tracingEndpoint = Setting.text(
        "tracing.endpoint", type: "URL", roles: Role.workers,
        "Collector that gets spans by OTLP over HTTP, `http://collector:4318`; without it no spans are made.",
        check: { $0.hasPrefix("http://") || $0.hasPrefix("https://") })
    public static let tracingRatio = Setting(
        SettingDescription(
            key: "tracing.ratio", type: "number", defaultText: "0", range: "0–1", isSecret: false, isRequired: false,
            roles: Role.workers,
            summary:
                "Share of new traces that are recorded. A trace that a backend has started is recorded when the backend records it."
        ), default: 0.0
    ) { text in Double(text).flatMap { (0...1).contains($0) ? $0 : nil } }
    public static let tracingHeaders = Setting(
        SettingDescription(
            key: "tracing.headers", type: "name=value,name=value", defaultText: "", range: "", isSecret: true,
            isRequired: false, roles: Role.workers,
            summary: "Headers of each request to the collector, for its credentials."),
        default: [String: String](), parse: pairs)
    public static let tracingCAFile = Setting.text(
        "tracing.caFile", type: "path", roles: Role.workers,
        "PEM file of the only certificate authorities that the collector may use.")

    // MARK: Kafka
    public static let kafkaServers = Setting.text(
        "kafka.bootstrapServers", type: "host:port,host:port", isRequired: true, roles: Role.kafka,
        "Brokers to connect to first.",
        check: { $0.split(separator: ",").allSatisfy { $0.contains(":") } && !$0.isEmpty })
    public static let kafkaEmbedded = Setting.flag(
        "kafka.embedded", default: false, roles: Role.kafka,
        "Set it when the broker is `beckon broker`: shorter waits and sessions, because that broker does not wake a waiting fetch."
    )
    public static let kafkaProperties = Setting(
        SettingDescription(
            key: "kafka.properties", type: "name=value,name=value", defaultText: "",
            range: "librdkafka's CONFIGURATION.md",
            isSecret: true, isRequired: false, roles: Role.kafka,
            summary: "Any librdkafka property, set last (security.protocol, sasl.password, …)."),
        default: [String: String](), parse: pairs)
    public static let topicPrefix = Setting.text(
        "topics.prefix", type: "text", default: "beckon.", range: "letters, digits, `.`, `_`, `-`, at most 200",
        roles: Role.kafka.union([.broker]), "Prefix of every topic's name.",
        check: {
            $0.utf8.count <= 200 && $0.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
        })

    // MARK: Keys
    public static let recordKeys = keyRing(
        "recordKeys", roles: Role.kafka,
        "Keys that sign records (`beckon-mac`) and receipt tokens; the same on every worker.")
    public static let storeKeys = keyRing(
        "storeKeys", roles: [.producer, .webhooks, .console],
        "Keys that seal secrets at rest; the same on every role that opens the store.")
    public static let configurationKeys = keyRing(
        "configurationKeys", roles: [.producer, .dispatcher],
        "Keys that seal provider credentials on topic `configuration`; the same on producers and dispatchers.")

    public static let eventKeys = keyRing(
        "eventKeys", roles: [.producer, .ackTracker], isRequired: false,
        range: "32 bytes each; the first signs, all are published",
        "Ed25519 keys that sign the records of `events` for readers without record keys; the same on producers and ack trackers. Without them, events are not signed."
    )

    // MARK: Producer
    public static let apiHost = Setting.text(
        "api.host", type: "address", default: "127.0.0.1", roles: [.producer], "Address of the HTTP API.")
    public static let apiPort = Setting.integer(
        "api.port", type: "port", default: 8080, range: 0...65_535, roles: [.producer],
        "Port of the HTTP API; 0: any free one.")
    public static let apiPublicURL = Setting.text(
        "api.publicUrl", type: "URL", roles: [.producer],
        "URL at which clients reach the API, used for the URLs in replies; without it the request's Host header is used.",
        check: { $0.hasPrefix("http://") || $0.hasPrefix("https://") })
    public static let apiCertificate = Setting.text(
        "api.tlsCertificateFile", type: "path", roles: [.producer],
        "PEM certificate chain; with it the API uses TLS. The file is read again when it changes.")
    public static let apiKey = Setting.text(
        "api.tlsKeyFile", type: "path", roles: [.producer], "PEM private key of the certificate chain.")
    public static let apiCORSOrigins = Setting.text(
        "api.corsOrigins", type: "origin,origin", roles: [.producer],
        "Origins of web pages that may call the API from a browser, `https://app.example.com`; none: no CORS headers are sent.",
        check: { text in
            text.split(separator: ",").allSatisfy { entry in
                let origin = entry.trimming
                return (origin.hasPrefix("https://") || origin.hasPrefix("http://")) && !origin.hasSuffix("/")
            }
        })
    public static let apiTrustedProxies = Setting.text(
        "api.trustedProxies", type: "address/bits,…", roles: [.producer],
        "Proxies whose `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto` are trusted, `10.0.0.0/8,fd00::/8`; none: the headers are ignored."
    )
    public static let deviceAPIHost = Setting.text(
        "deviceApi.host", type: "address", default: "127.0.0.1", roles: [.producer],
        "Address for devices, when `deviceApi.port` is set.")
    public static let deviceAPIPort = Setting<Int>(
        SettingDescription(
            key: "deviceApi.port", type: "port", defaultText: nil, range: "0–65535", isSecret: false, isRequired: false,
            roles: [.producer],
            summary: "Opens a second address that serves only devices and refuses account keys; 0: any free port."),
        default: nil
    ) { text in Int(text).flatMap { (0...65_535).contains($0) ? $0 : nil } }
    public static let deviceAPIPublicURL = Setting.text(
        "deviceApi.publicUrl", type: "URL", roles: [.producer], "Like `api.publicUrl`, for the address for devices.",
        check: { $0.hasPrefix("http://") || $0.hasPrefix("https://") })
    public static let deviceAPICertificate = Setting.text(
        "deviceApi.tlsCertificateFile", type: "path", roles: [.producer],
        "PEM certificate chain of the address for devices; without it the API's chain is used.")
    public static let deviceAPIKey = Setting.text(
        "deviceApi.tlsKeyFile", type: "path", roles: [.producer], "PEM private key of the certificate chain.")
    public static let hmsCallbackKeys = Setting.text(
        "hms.callbackKeys", type: "user:key,user:key", range: "each key at least 16 characters", isSecret: true,
        roles: [.producer],
        "User names and keys of the receipt configurations in AppGallery Connect; they sign HMS's delivery receipts to `/v2/HmsReceipts`. None: all receipts are refused."
    )
    public static let apiMaxLongPolls = Setting.integer(
        "api.maxLongPolls", type: "requests", default: 2000, range: 0...100_000, roles: [.producer],
        "Requests with `Wait` that may wait at the same time; one more is answered at once.")
    public static let apiMaxConnections = Setting.integer(
        "api.maxConnections", type: "connections", default: EdgeLimits().maxConnections, range: 16...100_000,
        roles: [.producer],
        "Open connections of each listener; fewer when the limit of open files is too low. At the bound, the longest idle connection is closed to accept a new one."
    )
    public static let apiMaxConnectionsPerAddress = Setting.integer(
        "api.maxConnectionsPerAddress", type: "connections", default: EdgeLimits().maxConnectionsPerAddress,
        range: 1...100_000, roles: [.producer],
        "Open connections of one IPv4 address or IPv6 /64 network, at most half of `api.maxConnections`; behind a trusted proxy, requests in progress of one client."
    )
    public static let tokensBrakeWindow = Setting.milliseconds(
        "tokens.brakeWindow", default: 1_800_000, range: 60_000...86_400_000, roles: [.producer],
        "Push tokens of a credential that die within this time are counted together (`tokens.dying`).")
    public static let tokensBrakeMinimum = Setting.integer(
        "tokens.brakeMinimum", type: "tokens", default: 10, range: 1...1_000_000, roles: [.producer],
        "Fewer dead tokens than this are always believed. A credential has failed when its provider does not know this many tokens and accepts no push."
    )
    public static let tokensBrakeShare = Setting.integer(
        "tokens.brakeShare", type: "percent", default: 50, range: 1...100, roles: [.producer],
        "Dead tokens as a share of dead tokens and accepted pushes; at this share, no dead token is believed.")
    public static let storeURL = Setting.text(
        "store.url", type: "sqlite:///path or postgresql://user@host,host/database",
        roles: [.producer, .webhooks, .console],
        "The store; the URL holds no password. Required, unless `store.path` is set.")
    public static let storePassword = Setting.text(
        "store.password", isSecret: true, roles: [.producer, .webhooks, .console],
        "PostgreSQL password, when the URL names no `passfile`.")
    public static let storeConnections = Setting.integer(
        "store.connections", type: "connections", default: 16, range: 1...500, roles: [.producer, .webhooks, .console],
        "Connections to PostgreSQL that a producer keeps open.")
    public static let storePath = Setting.text(
        "store.path", type: "path", roles: [.producer, .webhooks, .console],
        "The SQLite file; created when it does not exist. The short form of `store.url` with `sqlite://`.")
    public static let storeRetention = Setting.integer(
        "store.retentionDays", type: "days", default: 30, range: 1...3650, roles: [.producer],
        "How long a finished challenge is kept after its creation, with its identity and details.")
    public static let limitBurst = Setting.integer(
        "limits.burst", type: "challenges", default: 20, range: 0...10_000, roles: [.producer],
        "Challenges that can be created for an identity at once; 0: no limit.")
    public static let limitInterval = Setting.milliseconds(
        "limits.interval", default: 15_000, range: 100...3_600_000, roles: [.producer],
        "Time until an identity may get one more challenge after the burst is used up.")
    public static let limitPending = Setting.integer(
        "limits.pending", type: "challenges", default: 10, range: 0...10_000, roles: [.producer],
        "Challenges of an identity that may be pending at the same time; 0: no limit.")
    public static let limitDenials = Setting.integer(
        "limits.denials", type: "denials", default: 3, range: 0...20, roles: [.producer],
        "Denials of an identity within `limits.denialWindow` that stop all pushes to it; 0: pushes never stop.")
    public static let limitDenialWindow = Setting.milliseconds(
        "limits.denialWindow", default: 600_000, range: 1000...86_400_000, roles: [.producer],
        "How long a denial counts.")
    public static let limitQuiet = Setting.milliseconds(
        "limits.quiet", default: 900_000, range: 1000...86_400_000, roles: [.producer],
        "How long pushes stop after the denials; challenges are still created, and polling finds them.")
    public static let limitFactorGuesses = Setting.integer(
        "limits.factorGuesses", type: "wrong numbers", default: 6, range: 0...100, roles: [.producer],
        "Wrong numbers that a factor may send within `limits.guessWindow`; after that it cannot approve challenges that need a number. 0: no limit."
    )
    public static let limitIdentityGuesses = Setting.integer(
        "limits.identityGuesses", type: "wrong numbers", default: 12, range: 0...100, roles: [.producer],
        "Wrong numbers that all factors of an identity together may send within `limits.guessWindow`; after that none of them can approve challenges that need a number. 0: no limit."
    )
    public static let limitGuessWindow = Setting.milliseconds(
        "limits.guessWindow", default: 86_400_000, range: 60_000...604_800_000, roles: [.producer],
        "How long a wrong number counts.")
    public static let entranceAccount = Setting(
        SettingDescription(
            key: "entrance.account", type: "AC and 32 hexadecimal digits", defaultText: nil, range: "", isSecret: false,
            isRequired: false, roles: [.producer],
            summary:
                "The account that the topics `requests` and `receipt-requests` are bound to; without it the topics are not read."
        ),
        default: AccountSID?.none
    ) { text in AccountSID(text).map { .some($0) } }
    public static let entitiesPerSecond = Setting.integer(
        "limits.entitiesPerSecond", type: "entities", default: 40, range: 1...1_000_000, roles: [.producer],
        "Entities that an account may create within a second (60328), directly or with a first factor.")
    public static let outboxLimit = Setting.integer(
        "outbox.limit", type: "rows", default: 100_000, range: 100...10_000_000, roles: [.producer],
        "Rows that may wait for Kafka; above this number creations get 503 with Retry-After.")

    // MARK: Dispatcher
    /// The setting for the address of a provider. The provider's folder defines it.
    public static func url(of endpoint: ProviderEndpoint) -> Setting<String> {
        Setting.text(
            endpoint.setting, type: "URL", default: endpoint.url, roles: [.dispatcher], endpoint.summary, check: isHTTPS
        )
    }
    public static let providersProxy = Setting.text(
        "providers.proxy", type: "URL", range: "http://[USER:PASSWORD@]HOST:PORT", isSecret: true, roles: [.dispatcher],
        "A proxy that accepts CONNECT; TLS connections to the providers go through it.",
        check: { $0.hasPrefix("http://") })
    public static let providersCAFile = Setting.text(
        "providers.caFile", type: "path", roles: [.dispatcher],
        "PEM root certificates for the providers, instead of the system's.")
    public static let pushDeadline = Setting.milliseconds(
        "push.deadline", default: 10_000, range: 500...20_000, roles: [.dispatcher],
        "Time from hand-over to the provider's answer; at most the remaining life of the challenge.")
    public static let pushMaxInFlight = Setting.integer(
        "push.maxInFlight", type: "pushes", default: 3072, range: 1...100_000, roles: [.dispatcher],
        "Outstanding pushes per provider host; at most three quarters of it while the provider fails or is slow.")
    public static let pushMaxConnections = Setting.integer(
        "push.maxConnections", type: "connections", default: 8, range: 1...256, roles: [.dispatcher],
        "HTTP/2 connections per provider host.")
    public static let pushThreads = Setting.integer(
        "push.threads", type: "threads", default: 1, range: 1...64, roles: [.dispatcher],
        "Event loops of the push transport.")

    // MARK: Webhooks
    public static let webhooksAllowedHosts = Setting.text(
        "webhooks.allowedHosts", type: "host[:port] or network,…", roles: [.producer, .webhooks],
        "Hosts and networks that webhook URLs may name although they are not public, `hooks.internal:8080,10.1.0.0/16`; without it only public addresses on ports 443 and 8443 are allowed."
    )
    public static let webhooksAllowClearText = Setting.flag(
        "webhooks.allowClearText", default: false, roles: [.producer, .webhooks],
        "Whether hosts of `webhooks.allowedHosts` may have `http:` URLs.")
    public static let webhooksCAFile = Setting.text(
        "webhooks.caFile", type: "path", roles: [.webhooks],
        "PEM roots that are trusted for webhooks instead of the system's.")
    public static let webhooksClientCertificateFile = Setting.text(
        "webhooks.clientCertificateFile", type: "path", roles: [.webhooks],
        "PEM certificate chain that is shown to endpoints that ask for a client certificate; without it, none is shown."
    )
    public static let webhooksClientKeyFile = Setting.text(
        "webhooks.clientKeyFile", type: "path", roles: [.webhooks],
        "PEM private key of the client certificate.")
    public static let webhooksNameServers = Setting.text(
        "webhooks.nameServers", type: "address,address", roles: [.webhooks],
        "Name servers that resolve webhook hosts; without it, those of `/etc/resolv.conf`.")
    public static let webhooksOrigin = Setting.text(
        "webhooks.origin", type: "host", default: "beckon", roles: [.webhooks],
        "The name with which Beckon asks the receivers of webhooks with `Handshake=true` for consent.",
        check: { text in
            (1...253).contains(text.utf8.count)
                && text.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "*") }
        })
    public static let webhooksMaxInFlight = Setting.integer(
        "webhooks.maxInFlight", type: "requests", default: 2048, range: 1...100_000, roles: [.webhooks],
        "Requests to webhooks in progress at once; half of them for one account, and a quarter for one host.")
    public static let webhooksThreads = Setting.integer(
        "webhooks.threads", type: "threads", default: 1, range: 1...64, roles: [.webhooks],
        "Event loops of the connections to webhooks.")

    // MARK: Console
    public static let consoleHost = Setting.text(
        "console.host", type: "address", default: "127.0.0.1", roles: [.console], "Address of the console's pages.")
    public static let consolePort = Setting.integer(
        "console.port", type: "port", default: 8090, range: 0...65_535, roles: [.console],
        "Port of the console's pages; 0: any free one.")
    public static let consoleCertificate = Setting.text(
        "console.tlsCertificateFile", type: "path", roles: [.console],
        "PEM certificate chain; with it the console uses TLS. The file is read again when it changes.")
    public static let consoleKey = Setting.text(
        "console.tlsKeyFile", type: "path", roles: [.console], "PEM private key of the certificate chain.")
    public static let consoleTargets = Setting.text(
        "console.targets", type: "URL,URL", roles: [.console],
        "Pages with the metrics of the other roles, `http://producer:9464/metrics,http://dispatcher:9464/metrics`; of a host name with several addresses, the console reads each. Without them, the overview is empty.",
        check: { text in
            let urls = text.split(separator: ",").map(\.trimming)
            return !urls.isEmpty && urls.allSatisfy { $0.hasPrefix("http://") || $0.hasPrefix("https://") }
        })
    public static let consoleAuthentication = Setting.text(
        "console.authentication", type: "mode", default: "token", range: "token, proxy", roles: [.console],
        "How people sign in: `token` asks for `console.operatorToken` or `console.viewerToken`; `proxy` believes the headers of an authenticating proxy.",
        check: { ["token", "proxy"].contains($0) })
    public static let consoleOperatorToken = Setting.text(
        "console.operatorToken", type: "text", range: "at least 24 characters", isSecret: true, roles: [.console],
        "Token of the people who may see and act.", check: { $0.utf8.count >= 24 })
    public static let consoleViewerToken = Setting.text(
        "console.viewerToken", type: "text", range: "at least 24 characters", isSecret: true, roles: [.console],
        "Token of the people who may only see.", check: { $0.utf8.count >= 24 })
    public static let consoleTrustedProxies = Setting.text(
        "console.trustedProxies", type: "address/bits,…", roles: [.console],
        "Addresses of the authenticating proxy, `10.0.0.0/8,fd00::/8`. A request with its headers from any other address is refused."
    )
    public static let consoleUserHeader = Setting.text(
        "console.userHeader", type: "header", default: "X-Forwarded-User", roles: [.console],
        "Header in which the proxy names the person. The proxy must replace the value that a client sent.")
    public static let consoleGroupsHeader = Setting.text(
        "console.groupsHeader", type: "header", default: "X-Forwarded-Groups", roles: [.console],
        "Header in which the proxy names the groups of the person, separated by commas.")
    public static let consoleOperatorGroup = Setting.text(
        "console.operatorGroup", type: "text", roles: [.console],
        "Group whose members may see and act; without it, nobody may act.")
    public static let consoleViewerGroup = Setting.text(
        "console.viewerGroup", type: "text", roles: [.console],
        "Group whose members may only see; without it, everybody whom the proxy names may see.")
    public static let consoleAPIURL = Setting.text(
        "console.apiUrl", type: "URL", roles: [.console],
        "Beckon's HTTP API, for the pages about challenges, people, webhooks and the audit trail.",
        check: { $0.hasPrefix("http://") || $0.hasPrefix("https://") })
    public static let consoleAPIKey = Setting.text(
        "console.apiKey", type: "SID:secret", isSecret: true, roles: [.console],
        "The key that the console reads the API with. A key of role `read` is enough; only `full` shows the audit trail.",
        check: { $0.contains(":") })

    // MARK: Stand-ins for development
    public static let brokerPartitions = Setting.integer(
        "broker.partitions", type: "partitions", default: 12, range: 1...64, roles: [.broker],
        "Partitions of each topic.")
    public static let simulatorHost = Setting.text(
        "simulator.host", type: "address", default: "127.0.0.1", roles: [.simulator], "Address of the simulators.")
    public static let simulatorAPNsPort = Setting.integer(
        "simulator.apnsPort", type: "port", default: 0, range: 0...65_535, roles: [.simulator],
        "Port of the APNs simulator; 0: any free one.")
    public static let simulatorFCMPort = Setting.integer(
        "simulator.fcmPort", type: "port", default: 0, range: 0...65_535, roles: [.simulator],
        "Port of the FCM simulator; 0: any free one.")
    public static let simulatorHMSPort = Setting.integer(
        "simulator.hmsPort", type: "port", default: 0, range: 0...65_535, roles: [.simulator],
        "Port of the HMS simulator; 0: any free one.")
    public static let simulatorControlPort = Setting.integer(
        "simulator.controlPort", type: "port", default: 0, range: 0...65_535, roles: [.simulator],
        "Port of the control address: fault switches, logs, and the connection of simulated phones; 0: any free one.")
    public static let simulatorNames = Setting.text(
        "simulator.names", type: "name,name", roles: [.simulator],
        "Host names in the simulators' certificate, in addition to localhost and 127.0.0.1.")
    public static let simulatorCAFile = Setting.text(
        "simulator.caFile", type: "path", roles: [.simulator], "File that gets the simulators' CA certificate.")
    public static let phoneAPI = Setting.text(
        "phone.api", type: "URL", isRequired: true, roles: [.phone], "Beckon's HTTP API.")
    public static let phoneSimulator = Setting.text(
        "phone.simulator", type: "URL", isRequired: true, roles: [.phone], "The simulator's control address.")
    public static let phoneAccount = Setting.text(
        "phone.account", type: "AC and 32 hexadecimal digits", isRequired: true, roles: [.phone],
        "Account whose backend creates the access tokens.")
    public static let phoneAuthToken = Setting.text(
        "phone.authToken", type: "text", isSecret: true, isRequired: true, roles: [.phone], "The account's auth token.")
    public static let phoneService = Setting.text(
        "phone.service", type: "VA and 32 hexadecimal digits", roles: [.phone],
        "Service that the phones enrol in; without it a service is created, with credentials that the simulator knows.")
    public static let phoneCount = Setting.integer(
        "phone.count", type: "phones", default: 1, range: 1...100_000, roles: [.phone], "Number of phones.")
    public static let phoneIdentity = Setting.text(
        "phone.identityPrefix", type: "text", default: "person-", roles: [.phone],
        "Prefix of the identities; a number of 5 digits follows, from 1.")
    public static let phoneBehaviour = Setting.text(
        "phone.behaviour", type: "behaviour,behaviour", default: "answers", roles: [.phone],
        "Behaviours of the phones, assigned in turn: answers, denies, ignores, `drops:<k>`, notifications-off, closed, polls, deleted, `slow:<ms>`, offline, forges, reinstalls, mute."
    )
    public static let phonePlatform = Setting.text(
        "phone.platform", type: "platform", default: "apn", range: "apn, fcm, hms, mixed", roles: [.phone],
        "Provider that the phones register with.", check: { ["apn", "fcm", "hms", "mixed"].contains($0) })

    /// All keys in the order of docs/configuration.md.
    public static let all =
        beforeProviders + PushProviders.endpoints.map { url(of: $0).description } + behindProviders

    private static let beforeProviders: [SettingDescription] = [
        config.description, logLevel.description, logFormat.description, readyFile.description, adminHost.description,
        adminPort.description,
        adminToken.description, shutdownTimeout.description, tracingEndpoint.description, tracingRatio.description,
        tracingHeaders.description, tracingCAFile.description, kafkaServers.description, kafkaEmbedded.description,
        kafkaProperties.description,
        topicPrefix.description, recordKeys.description, storeKeys.description, configurationKeys.description,
        eventKeys.description,
        apiHost.description, apiPort.description, apiPublicURL.description, apiCertificate.description,
        apiKey.description, apiCORSOrigins.description, apiTrustedProxies.description, deviceAPIHost.description,
        deviceAPIPort.description, deviceAPIPublicURL.description, deviceAPICertificate.description,
        deviceAPIKey.description,
        hmsCallbackKeys.description, apiMaxLongPolls.description, apiMaxConnections.description,
        apiMaxConnectionsPerAddress.description,
        tokensBrakeWindow.description, tokensBrakeMinimum.description, tokensBrakeShare.description,
        storeURL.description, storePassword.description, storeConnections.description,
        storePath.description, storeRetention.description, limitBurst.description, limitInterval.description,
        limitPending.description, limitDenials.description, limitDenialWindow.description, limitQuiet.description,
        limitFactorGuesses.description, limitIdentityGuesses.description, limitGuessWindow.description,
        entitiesPerSecond.description, entranceAccount.description, outboxLimit.description,
    ]

    private static let behindProviders: [SettingDescription] = [
        providersProxy.description, providersCAFile.description,
        pushDeadline.description, pushMaxInFlight.description, pushMaxConnections.description, pushThreads.description,
        webhooksAllowedHosts.description, webhooksAllowClearText.description, webhooksCAFile.description,
        webhooksClientCertificateFile.description, webhooksClientKeyFile.description,
        webhooksNameServers.description, webhooksOrigin.description, webhooksMaxInFlight.description,
        webhooksThreads.description,
        consoleHost.description, consolePort.description, consoleCertificate.description, consoleKey.description,
        consoleTargets.description, consoleAuthentication.description, consoleOperatorToken.description,
        consoleViewerToken.description, consoleTrustedProxies.description, consoleUserHeader.description,
        consoleGroupsHeader.description, consoleOperatorGroup.description, consoleViewerGroup.description,
        consoleAPIURL.description, consoleAPIKey.description,
        brokerPartitions.description,
        simulatorHost.description,
        simulatorAPNsPort.description, simulatorFCMPort.description, simulatorHMSPort.description,
        simulatorControlPort.description,
        simulatorNames.description, simulatorCAFile.description, phoneAPI.description, phoneSimulator.description,
        phoneAccount.description,
        phoneAuthToken.description, phoneService.description, phoneCount.description, phoneIdentity.description,
        phoneBehaviour.description, phonePlatform.description,
    ]

    /// Reads `name=value,name=value`.
    private static let pairs: @Sendable (String) -> [String: String]? = { text in
        var pairs: [String: String] = [:]
        for entry in text.split(separator: ",") {
            let parts = entry.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { return nil }
            pairs[parts[0].trimming] = parts[1].trimming
        }
        return pairs
    }

    private static func isHTTPS(_ text: String) -> Bool { text.hasPrefix("https://") && text.utf8.count > 8 }

    static let keyRingType = "id:base64,id:base64"

    private static func keyRing(
        _ key: String, roles: Set<Role>, isRequired: Bool = true,
        range: String = "32 bytes each; the first signs, all verify", _ summary: String
    ) -> Setting<KeyRing> {
        Setting(
            SettingDescription(
                key: key, type: keyRingType, defaultText: nil,
                range: range, isSecret: true, isRequired: isRequired, roles: roles, summary: summary), default: nil
        ) { try? KeyRing(parsing: $0) }
    }

    /// The Kafka configuration from the settings.
    public func kafka() throws(SettingsError) -> KafkaConfiguration {
        var kafka = KafkaConfiguration(
            bootstrapServers: try self(Self.kafkaServers), properties: try self(Self.kafkaProperties),
            isEmbedded: try self(Self.kafkaEmbedded))
        kafka.place = Self.place(host: ProcessInfo.processInfo.hostName, adminPort: try self(Self.adminPort))
        return kafka
    }

    /// Where a role runs: no two living processes of one host have one admin port. Nil when that tells nothing: the port
    /// is any free one, or the host has no name of its own.
    static func place(host: String, adminPort: Int) -> String? {
        let name = String(host.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) ? $0 : "-" })
        guard adminPort != 0, !name.isEmpty, !name.hasPrefix("localhost") else { return nil }
        return "\(name)-\(adminPort)"
    }
}

extension StringProtocol {
    fileprivate var trimming: String {
        var text = Substring(self)
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
