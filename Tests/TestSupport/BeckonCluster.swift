public import AsyncHTTPClient
public import ChallengeModel
public import Foundation
public import KafkaClient
import NIOCore
public import NIOHTTP1
import ServiceSupport
public import Simulators
import Synchronization

/// Every role as its own process around a broker, the stand-in in a process of its own or a real cluster, as
/// compose.yaml lays them out around Kafka.
public final class BeckonCluster: Sendable {
    public struct Account: Sendable, Decodable {
        public let sid: String
        public let authToken: String

        enum CodingKeys: String, CodingKey {
            case sid = "account_sid"
            case authToken = "auth_token"
        }
    }

    public let folder: URL
    public let kafka: KafkaConfiguration
    public let account: Account
    public let names: TopicNames
    public let recordKeys: KeyRing
    public let client: HTTPClient
    public let apiURL: String
    /// The stand-in broker's fault switches; nil: the cluster is a real one.
    public let brokerControl: String?
    private let topics: TestBroker?
    /// The simulator's control address.
    public let control: String
    private let simulator: [String: String]
    private let environment: [String: String]
    private let processes: Mutex<[String: BeckonProcess]>

    /// Starts broker and simulator and makes an account; the roles are started one by one.
    /// - Parameter storeURL: of the store; nil: a file of SQLite.
    public init(storeURL: String? = nil) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-cluster-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let names = TopicNames(prefix: TestBroker.prefix())
        var (broker, topics): (BeckonProcess?, TestBroker?)
        if TestBroker.cluster == nil {
            broker = try BeckonProcess(
                "broker", ["broker", "--admin-port", "0", "--topics-prefix", names.prefix], folder: folder)
        } else {
            // As many as the stand-in makes.
            topics = try await TestBroker(
                topics: Dictionary(
                    uniqueKeysWithValues: Topic.allCases.map {
                        (names[$0], $0 == .configuration || $0 == .deadLetters ? 1 : 12)
                    })
            ) { name in
                // As `beckon topics create` makes them; how many replicas there are, the cluster says.
                guard let topic = names.topic(named: name) else { return [:] }
                var settings = TopicPlan[topic].settings(replicas: 1)
                settings["min.insync.replicas"] = nil
                return settings
            }
        }
        let simulator = try BeckonProcess(
            "simulator",
            ["simulator", "--admin-port", "0", "--simulator-ca-file", folder.appending(path: "ca.crt").path],
            folder: folder)
        let (brokerFacts, simulatorFacts) = (try await broker?.ready() ?? [:], try await simulator.ready())
        kafka =
            topics?.kafka ?? KafkaConfiguration(bootstrapServers: brokerFacts["kafka"] ?? "", isEmbedded: true)
        recordKeys = .random()
        let port = try Self.freePort()
        var environment = Self.environment(
            kafka: kafka.bootstrapServers, simulator: simulatorFacts, recordKeys: recordKeys, apiPort: port,
            folder: folder
        ).merging(Self.stage) { $1 }
        environment["BECKON_KAFKA_EMBEDDED"] = kafka.isEmbedded ? "true" : "false"
        environment["BECKON_TOPICS_PREFIX"] = names.prefix
        if let storeURL {
            environment["BECKON_STORE_PATH"] = nil
            environment["BECKON_STORE_URL"] = storeURL
        }
        let made = try await BeckonProcess.output(of: ["account", "create"], environment: environment)
        account = try JSONDecoder().decode(Account.self, from: Data(made.utf8))
        environment["BECKON_ENTRANCE_ACCOUNT"] = account.sid
        self.folder = folder
        self.simulator = simulatorFacts
        self.environment = environment
        self.names = names
        self.topics = topics
        brokerControl = brokerFacts["control"]
        control = simulatorFacts["control"] ?? ""
        apiURL = "http://127.0.0.1:\(port)"
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        // Less than the producers' 60 s: a request on a connection that the server closes at that moment gets no answer.
        configuration.connectionPool.idleTimeout = .seconds(20)
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        processes = Mutex(["broker": broker, "simulator": simulator].compactMapValues { $0 })
    }

    /// What the roles are told, as compose.yaml tells them; ComposeTests holds the two together.
    public static func environment(
        kafka: String, simulator: [String: String], recordKeys: KeyRing, apiPort: UInt16, folder: URL
    ) -> [String: String] {
        [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": kafka, "BECKON_RECORD_KEYS": recordKeys.text,
            "BECKON_STORE_KEYS": KeyRing.random().text, "BECKON_CONFIGURATION_KEYS": KeyRing.random().text,
            "BECKON_STORE_PATH": folder.appending(path: "beckon.sqlite").path, "BECKON_ENTRANCE_ACCOUNT": "",
            "BECKON_API_PORT": "\(apiPort)", "BECKON_APNS_URL": simulator["apns"] ?? "",
            "BECKON_APNS_SANDBOX_URL": simulator["apns"] ?? "", "BECKON_FCM_URL": simulator["fcm"] ?? "",
            "BECKON_FCM_TOKEN_URL": simulator["fcm_token"] ?? "", "BECKON_HMS_URL": simulator["hms"] ?? "",
            "BECKON_HMS_TOKEN_URL": simulator["hms_token"] ?? "",
            "BECKON_PROVIDERS_CA_FILE": folder.appending(path: "ca.crt").path,
        ]
    }

    /// What only a test tells them: another broker, ports that are free, and one identity is asked as often as it
    /// likes.
    private static let stage = [
        "BECKON_ADMIN_PORT": "0", "BECKON_LIMITS_BURST": "0",
        "BECKON_LIMITS_PENDING": "0", "BECKON_LIMITS_DENIALS": "0", "BECKON_LIMITS_ENTITIES_PER_SECOND": "100000",
    ]

    /// The backend of the account.
    public var backend: BackendClient { backend(at: apiURL) }

    /// The backend of the account, as a client of one of several producers.
    public func backend(at apiURL: String) -> BackendClient {
        BackendClient(apiURL: apiURL, accountSID: account.sid, authToken: account.authToken, client: client)
    }

    /// Starts a role; a name used before is started again.
    /// - Parameters:
    ///   - role: the subcommand.
    ///   - arguments: more settings.
    ///   - executable: of another version; nil: the one that the tests were built with.
    @discardableResult
    public func start(
        _ name: String, _ role: String, _ arguments: [String] = [], more: [String: String] = [:], executable: URL? = nil
    ) throws -> BeckonProcess {
        let process = try BeckonProcess(
            name, [role] + arguments, environment: environment.merging(more) { $1 }, executable: executable,
            folder: folder)
        processes.withLock { $0[name] = process }
        return process
    }

    /// Registers phones that live in a process of their own, of the persons 1 to `count`.
    /// - Parameters:
    ///   - service: nil: a new one.
    ///   - api: where they call; nil: ``apiURL``.
    ///   - prefix: of the persons' identities.
    /// - Returns: the service they are registered with.
    public func startPhones(
        _ count: Int, behaviour: String, platform: String = "mixed", name: String = "phones", service: String? = nil,
        api: String? = nil, prefix: String = "person-"
    ) async throws -> String {
        let phones = try start(
            name, "phone",
            [
                "--phone-api", api ?? apiURL, "--phone-identity-prefix", prefix, "--phone-simulator", control,
                "--phone-account", account.sid, "--phone-count",
                "\(count)", "--phone-behaviour", behaviour, "--phone-platform", platform,
            ] + (service.map { ["--phone-service", $0] } ?? []), more: ["BECKON_PHONE_AUTH_TOKEN": account.authToken])
        return try await phones.ready(within: .seconds(180))["service_sid"] ?? ""
    }

    /// Runs a command to its end, with what the roles are told.
    /// - Returns: what it printed.
    public func run(_ arguments: [String], more: [String: String] = [:]) async throws -> String {
        try await BeckonProcess.output(of: arguments, environment: environment.merging(more) { $1 })
    }

    /// What every role is told of a setting, by its environment variable.
    public func setting(_ name: String) -> String? { environment[name] }

    public subscript(name: String) -> BeckonProcess? { processes.withLock { $0[name] } }

    /// The sum of all series of a metric, over these roles as they run now.
    public func sum(of metric: String, _ names: [String]) async throws -> Double {
        var sum = 0.0
        for name in names {
            guard let admin = try await self[name]?.ready()["admin"] else { continue }
            let response = try await client.execute(HTTPClientRequest(url: admin + "/metrics"), timeout: .seconds(30))
            let body = String(buffer: try await response.body.collect(upTo: 4 << 20))
            for line in body.split(separator: "\n") where line.hasPrefix(metric + " ") || line.hasPrefix(metric + "{") {
                sum += line.split(separator: " ").last.flatMap { Double($0) } ?? 0
            }
        }
        return sum
    }

    /// Sets a fault switch of the stand-in broker.
    /// - Parameter path: `/brokers/1/down` and so on.
    public func setBroker(_ path: String) async throws {
        guard let brokerControl else {
            throw BeckonProcess.Failure(
                description: "a real cluster has no switch \(path): run it without BECKON_TEST_KAFKA")
        }
        try await ask(.POST, brokerControl + path)
    }

    /// A request to the control of the stand-in broker or of the simulator, again until it is answered. No fault of a
    /// test ends these two; one that has ended is named in the error.
    @discardableResult
    public func ask(_ method: HTTPMethod, _ url: String, body: String = "") async throws -> Data {
        try await retried("\(method) \(url)") {
            try standInsRun()
            var request = HTTPClientRequest(url: url)
            request.method = method
            if !body.isEmpty { request.body = .bytes(ByteBuffer(string: body)) }
            let response = try await client.execute(request, timeout: .seconds(60))
            let data = Data((try await response.body.collect(upTo: 1 << 26)).readableBytesView)
            guard (200..<300).contains(response.status.code) else {
                throw BeckonProcess.Failure(
                    description: "it said \(response.status.code), \(String(decoding: data.prefix(500), as: UTF8.self))"
                )
            }
            return data
        }
    }

    /// - Throws: ``BeckonProcess/Ended`` when the stand-in broker or the simulator has ended by itself.
    public func standInsRun() throws {
        for name in ["broker", "simulator"] { try self[name]?.hasNotEnded() }
    }

    /// `kill -9`.
    public func kill(_ name: String) { self[name]?.kill() }

    /// SIGTERM to all roles, and last to simulator and broker.
    /// - Returns: exit status by name; nil: it had to be killed.
    @discardableResult
    public func stop() async -> [String: Int32?] {
        let all = processes.withLock { $0 }
        var statuses: [String: Int32?] = [:]
        let last = ["simulator", "broker"]
        await withTaskGroup(of: (String, Int32?).self) { group in
            for (name, process) in all where !last.contains(name) && process.isRunning {
                group.addTask { (name, await process.stop(within: .seconds(60))) }
            }
            for await (name, status) in group { statuses.updateValue(status, forKey: name) }
        }
        for name in last { if let process = all[name] { statuses.updateValue(await process.stop(), forKey: name) } }
        await topics?.close()
        try? await client.shutdown()
        return statuses
    }

    /// The ends of all logs, for a failure's message.
    public var tails: String {
        processes.withLock { $0 }.sorted { $0.key < $1.key }.map { "--- \($0.key)\n\($0.value.tail)" }.joined(
            separator: "\n")
    }

    /// Runs `body` with a cluster and ends every process of it afterwards. At most three run at a time; the others wait
    /// for their turn.
    public static func with(
        storeURL: String? = nil, _ body: @Sendable (BeckonCluster) async throws -> Void
    ) async throws {
        try await Turns.clusters.withOne { try await run(storeURL, body) }
    }

    private static func run(
        _ storeURL: String?, _ body: @Sendable (BeckonCluster) async throws -> Void
    ) async throws {
        let cluster = try await BeckonCluster(storeURL: storeURL)
        do {
            try await body(cluster)
        } catch {
            await cluster.stop()
            throw error
        }
        await cluster.stop()
        try? FileManager.default.removeItem(at: cluster.folder)
    }

    /// A port below those that the system gives to clients (32768 to 60999 on Linux), so that none takes it while its
    /// role is started again.
    public static func freePort() throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000..<32_000)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            let isFree = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
            if isFree { return port }
        }
        throw BeckonProcess.Failure(description: "no free port")
    }
}
