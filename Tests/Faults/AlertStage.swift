import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import Simulators
import Synchronization
import TestSupport
import Testing

/// Every role as a process of its own, around the stand-in broker and a PostgreSQL server, with phones of every
/// provider, under load, and scraped by a Prometheus server that evaluates the alert rules.
final class AlertStage: Sendable {
    /// The roles by the names of their processes.
    static let roles = [
        "producer": "producer", "producer-b": "producer", "dispatcher": "dispatcher", "tracker": "ack-tracker",
        "relay": "webhooks",
    ]

    /// Not 127.0.0.1: webhooks may not name the addresses of the brokers.
    private static let receiverHost = "127.0.0.2"

    let cluster: BeckonCluster
    let server: PostgresServer
    let database: String
    let prometheus: PrometheusServer
    let load: AlertLoad
    /// Of the second producer, which has few connections.
    let secondPort: UInt16
    let stretch: Double
    private let receiver: SimulatedReceiver
    private let receiverPort: Int
    private let more: [String: [String: String]]
    private let seen = Mutex<Set<PrometheusServer.Rule>>([])

    init(_ cluster: BeckonCluster, server: PostgresServer, database: String, stretch: Double) async throws {
        (self.cluster, self.server, self.database, self.stretch) = (cluster, server, database, stretch)
        secondPort = try BeckonCluster.freePort()
        var more: [String: [String: String]] = [:]
        var targets: [String: [String]] = [:]
        for (name, role) in Self.roles.sorted(by: { $0.key < $1.key }) {
            // One port over all restarts: the series of a process continue those of its predecessor.
            let port = try BeckonCluster.freePort()
            more[name] = [
                "BECKON_ADMIN_PORT": "\(port)", "BECKON_STORE_CONNECTIONS": "6",
                // A dead letter of more than 100 KB is refused for good, before it is sent.
                "BECKON_KAFKA_PROPERTIES": "message.max.bytes=100000",
                // No dead token is believed, so that every phone keeps its token.
                "BECKON_TOKENS_BRAKE_MINIMUM": "1", "BECKON_TOKENS_BRAKE_SHARE": "1", "BECKON_OUTBOX_LIMIT": "100",
                "BECKON_WEBHOOKS_ALLOWED_HOSTS": "\(Self.receiverHost)/32",
                "BECKON_WEBHOOKS_ALLOW_CLEAR_TEXT": "true",
            ]
            targets["beckon-" + role, default: []].append("127.0.0.1:\(port)")
        }
        more["producer-b"]?.merge(
            [
                "BECKON_API_PORT": "\(secondPort)", "BECKON_API_MAX_CONNECTIONS": "16",
                "BECKON_API_MAX_CONNECTIONS_PER_ADDRESS": "8",
            ]) { $1 }
        self.more = more
        // The dispatcher begins later: ``startDispatcherOnAnotherLog(logger:)``.
        let first = Self.roles.filter { $0.key != "dispatcher" }
        for (name, role) in first { try cluster.start(name, role, more: more[name] ?? [:]) }
        for name in first.keys { _ = try await cluster[name]?.ready() }
        var service: String?
        for kind in AlertLoad.Kind.allCases {
            service = try await cluster.startPhones(
                AlertLoad.phonesOfKind, behaviour: kind == .quiet ? "drops:1000" : "answers",
                platform: kind == .quiet ? "fcm" : String(kind.rawValue.dropLast()), name: "phones-" + kind.rawValue,
                service: service, prefix: kind.rawValue)
        }
        receiver = SimulatedReceiver(certificates: nil) { _ in .status(204) }
        receiverPort = try await receiver.start(host: Self.receiverHost)
        _ = try await cluster.backend.request(
            "POST", path: "/v2/Services/\(service ?? "")/Webhooks",
            form: [
                ("FriendlyName", "hook"), ("EventTypes", "*"), ("Format", "json"),
                ("WebhookUrl", "http://\(Self.receiverHost):\(receiverPort)/hook"),
            ])
        load = AlertLoad(cluster, service: service ?? "")
        prometheus = try await PrometheusServer(
            scraping: targets, times: PrometheusServer.ShortTimes(stretch: stretch), folder: cluster.folder)
    }

    /// Ends what the cluster does not end.
    func close() async {
        await prometheus.stop()
        await receiver.stop()
    }

    // MARK: - Alerts

    /// Alerts that fired so far.
    var fired: Set<PrometheusServer.Rule> { seen.withLock { $0 } }

    /// Looks at the alerts until cancelled, so that none is missed between two waits.
    func watch() async {
        while !Task.isCancelled {
            if let firing = try? await prometheus.firing() { seen.withLock { $0.formUnion(firing) } }
            try? await Task.sleep(for: .milliseconds(300))
        }
    }

    /// The rules of some alerts: an alert may have several, which differ in a label.
    func rules(_ names: [String]) throws -> Set<PrometheusServer.Rule> {
        var rules: Set<PrometheusServer.Rule> = []
        for name in names {
            let own = prometheus.rules.filter { $0.description == name || $0.description.hasPrefix(name + " ") }
            try #require(!own.isEmpty, "no rule is named \(name)")
            rules.formUnion(own)
        }
        return rules
    }

    /// Waits until each of these has fired since the call.
    func fires(_ names: String...) async throws { try await wait("fires", names) { fired, _ in fired } }

    /// Waits until none of these fires at one moment.
    func clears(_ names: String...) async throws {
        let rules = try rules(names)
        try await wait("clears", names) { _, firing in rules.subtracting(firing) }
    }

    private func wait(
        _ what: String, _ names: [String],
        done: (_ fired: Set<PrometheusServer.Rule>, _ firing: Set<PrometheusServer.Rule>) -> Set<PrometheusServer.Rule>
    ) async throws {
        let rules = try rules(names)
        let end = ContinuousClock.now + .seconds(150 * stretch)
        var fired: Set<PrometheusServer.Rule> = []
        while true {
            let firing = try await prometheus.firing()
            fired.formUnion(firing)
            seen.withLock { $0.formUnion(firing) }
            let missing = rules.subtracting(done(fired, firing))
            if missing.isEmpty { return }
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(
                    description: "never \(what): \(missing.sorted()); firing: \(firing.sorted())\n\(cluster.tails)")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    // MARK: - Faults

    /// Starts a role again.
    func start(_ name: String, _ own: [String: String] = [:]) throws {
        try cluster.start(name, Self.roles[name] ?? "", more: (more[name] ?? [:]).merging(own) { $1 })
    }

    /// Sets the faults of a provider; without a text there are none.
    func set(_ provider: String, _ faults: String = "{}") async throws {
        try await cluster.ask(.PUT, cluster.control + "/faults/\(provider)", body: faults)
    }

    /// - Parameter how: `goaway` or `cut`.
    func end(connectionsOf provider: String, _ how: String) async throws {
        try await cluster.ask(.POST, cluster.control + "/connections/\(provider)/\(how)")
    }

    /// The next requests of a kind are answered with an error of Kafka.
    /// - Parameter code: nil: no more errors.
    func setErrors(apiKey: Int, code: Int?) async throws {
        let codes = code.map { Array(repeating: "\($0)", count: 1000).joined(separator: ",") } ?? ""
        try await cluster.setBroker("/errors?api_key=\(apiKey)&codes=\(codes)")
    }

    /// Whether the producers can make the partitions of the days ahead. If not, only today's are there.
    func setDays(areMade: Bool) async throws {
        try await server.sql(
            areMade
                ? """
                ALTER FUNCTION make_no_days(bigint, bigint) RENAME TO make_days;
                INSERT INTO partition_days SELECT * FROM kept_days ON CONFLICT DO NOTHING;
                """
                : """
                ALTER FUNCTION make_days(bigint, bigint) RENAME TO make_no_days;
                CREATE TABLE kept_days AS SELECT * FROM partition_days;
                DELETE FROM partition_days WHERE family = 'audit' AND day_ms > extract(epoch FROM now()) * 1000;
                """, in: database)
    }

    func stopReceiver() async { await receiver.goDown() }
    func startReceiver() async throws { try await receiver.start(host: Self.receiverHost, port: receiverPort) }

    /// Sets the soft limit of open files of a process so that it uses nine tenths of it.
    /// - Returns: the limit before.
    func lowerOpenFiles(_ name: String) async throws -> Int {
        let pid = try #require(cluster[name]).identifier
        let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
        let limits = try String(contentsOfFile: "/proc/\(pid)/limits", encoding: .utf8)
        let before = limits.firstMatch(of: #/Max open files +(\d+)/#).flatMap { Int($0.1) }
        try await setOpenFiles(name, open * 10 / 9)
        return try #require(before)
    }

    func setOpenFiles(_ name: String, _ limit: Int) async throws {
        let pid = try #require(cluster[name]).identifier
        let changed = try await ToolRun.of("/usr/bin/prlimit", ["--pid", "\(pid)", "--nofile=\(limit):"])
        try #require(changed.status == 0, "\(changed.output)")
    }

    /// Keeps requests that never end on all connections of the second producer, and tries to open more, until cancelled.
    func occupySecondProducer() async throws {
        while !Task.isCancelled {
            var sockets: [Int32] = []
            defer { for socket in sockets { Glibc.close(socket) } }
            for address in ["127.0.0.21", "127.0.0.22"] {
                for _ in 0..<8 {
                    let descriptor = try Self.connect(from: address, toPort: secondPort)
                    sockets.append(descriptor)
                    let head = "POST /v2/Services HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
                    // The producer may have closed it already.
                    _ = head.withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
                }
            }
            // The producer gives a request some seconds for its body. Until it has read the heads, it makes room.
            for _ in 0..<10 {
                try? await Task.sleep(for: .milliseconds(400))
                sockets.append(try Self.connect(from: "127.0.0.23", toPort: secondPort))
            }
        }
    }

    private static func connect(from source: String, toPort port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        func address(_ host: String, _ port: UInt16) -> sockaddr_in {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = inet_addr(host)
            return address
        }
        func with(_ address: sockaddr_in, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
            withUnsafePointer(to: address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    call($0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        try #require(with(address(source, 0)) { bind(descriptor, $0, $1) } == 0)
        try #require(with(address("127.0.0.1", port)) { Glibc.connect(descriptor, $0, $1) } == 0)
        return descriptor
    }

    /// Writes a record that is signed with a key that nobody has, and behind it, in the same partition, records without
    /// a code.
    func hold(_ topic: Topic, by keys: KeyRing, then count: Int, _ producer: KafkaProducer) async throws {
        let name = cluster.names[topic]
        let (key, value) = (Array("YC03\(String(repeating: "b", count: 30))".utf8), Array("{}".utf8))
        let code = RecordAuthenticator(keys: keys).mac(topic: name, key: key, contentType: .json, value: value)
        let type = RecordHeader(ContentType.headerName, ContentType.json.rawValue)
        _ = try await producer.send(
            ProducerRecord(
                topic: name, key: key, value: value,
                headers: [type, RecordHeader(RecordAuthenticator.headerName, code)]))
        for _ in 0..<count {
            producer.enqueue(ProducerRecord(topic: name, key: key, value: value, headers: [type])) { _ in }
        }
        try #require(await producer.flush(deadline: .seconds(60)))
    }

    /// Starts the dispatcher with a committed position that is beyond the end of its log.
    func startDispatcherOnAnotherLog(logger: Logger) async throws {
        // An increase can be seen only behind a sample of 0, which a dispatcher without Kafka shows.
        let metric = "beckon_dispatcher_logs_cut_total"
        try start("dispatcher", ["BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"])
        let end = ContinuousClock.now + .seconds(60 * stretch)
        while try await prometheus.query("\(metric) == 0").isEmpty {
            guard ContinuousClock.now < end else {
                throw BeckonProcess.Failure(description: "no sample of \(metric)\n\(cluster.tails)")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        cluster.kill("dispatcher")
        var kafka = cluster.kafka
        kafka.properties["group.id"] = cluster.names.prefix + "dispatcher"
        let consumer = try KafkaConsumer(
            configuration: kafka, following: [cluster.names[.configuration]], logger: logger)
        defer { Task { await consumer.close(deadline: .seconds(1)) } }
        let partition = TopicPartition(topic: cluster.names[.challenges], partition: 0)
        try await consumer.commit(
            [partition: CommittedOffset(offset: 500_000, metadata: "")], deadline: .seconds(30))
        try start("dispatcher")
    }
}
