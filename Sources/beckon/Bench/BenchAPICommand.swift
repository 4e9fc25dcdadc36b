import ArgumentParser
import ChallengeModel
import ChallengeStore
import Foundation
import Hummingbird
import KafkaClient
import Logging
import Metrics
import NIOCore
import Producer
import ServiceLifecycle
import ServiceSupport

/// `beckon bench api`: creations over HTTP against a Producer with default limits.
struct BenchAPICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api", abstract: "Creates challenges over HTTP against a Producer with default limits.",
        discussion: """
            The Producer runs in this process with its relay at work on the stand-in broker; so do the client and, before it, a \
            hello-world of the same HTTP server under the same client. Prints: creates, seconds, per_second, p50_ms, p99_ms \
            (from when a request was due to its reply), errors, outbox_rows (not relayed yet), factors, hello_per_second, ratio.
            """)

    @Option(help: "sqlite:PATH, made when missing; a temporary file is removed: sqlite:temporary.") var database =
        "sqlite:temporary"
    @Option(help: "Creations per second; 0: as many as there can be.") var rate = 0.0
    @Option(help: "Seconds of load.") var seconds = 10.0
    @Option(help: "Connections of the client.") var connections = 64
    @Option(help: "Factors in the store, one identity each, before the load.") var factors = 1000
    @Flag(help: "Leave the relay out, as while Kafka is down.") var withoutKafka = false

    func run() async throws {
        guard database.hasPrefix("sqlite:"), seconds > 0, connections > 0, factors > 0, rate >= 0 else {
            throw ValidationError("expected --database sqlite:PATH, and seconds, connections, factors above 0")
        }
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let named = String(database.dropFirst("sqlite:".count))
        let path = named == "temporary" ? folder.appending(path: "store.sqlite").path : named
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let hello = try await hello(logger)
        let store = try SQLiteChallengeStore(
            path: path, keys: StoreKeys(store: .random(), configuration: .random()), limits: .none, logger: logger)
        let (account, requests) = try await fill(store)
        let names = TopicNames()
        let broker = try EmbeddedBroker(
            topics: Dictionary(uniqueKeysWithValues: Topic.allCases.map { (names[$0], 12) }))
        var configuration = ProducerConfiguration(
            kafka: KafkaConfiguration(
                bootstrapServers: withoutKafka ? "127.0.0.1:1" : broker.bootstrapServers,
                properties: ["log_level": "0"], isEmbedded: true), topics: names, recordKeys: .random())
        configuration.port = 0
        let service = ProducerService(
            configuration: configuration, store: store, readiness: Readiness(), logger: logger,
            metrics: NOOPMetricsHandler.instance)
        let group = ServiceGroup(configuration: .init(services: [service], logger: logger))
        let report = try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let port = await service.boundPort ?? 0
            let authorization = Data("\(account.sid):\(account.authToken)".utf8).base64EncodedString()
            let load = HTTPLoad(
                host: "127.0.0.1", port: port, connections: connections, rate: rate > 0 ? rate : nil, seconds: seconds,
                requests: requests.map { Self.request($0, authorization) }, expecting: 201)
            let report = try await load.run()
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return report
        }
        let rows = try await store.outboxState().rows
        await store.close()
        await broker.close()
        print(
            "{\"creates\":\(report.good),\"seconds\":\(rounded(report.seconds)),"
                + "\"per_second\":\(rounded(report.perSecond)),\"p50_ms\":\(rounded(report.p50Ms)),"
                + "\"p99_ms\":\(rounded(report.p99Ms)),\"errors\":\(report.errors),\"outbox_rows\":\(rows),"
                + "\"factors\":\(factors),\"hello_per_second\":\(rounded(hello.perSecond)),"
                + "\"ratio\":\(rounded(report.perSecond / hello.perSecond))}")
    }

    /// The same HTTP server that answers every request with a few bytes.
    private func hello(_ logger: Logger) async throws -> HTTPLoad.Report {
        let router = Router()
        router.post("/**") { _, _ in "hello" }
        let bound = AsyncStream<Int>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in bound.continuation.yield(channel.localAddress?.port ?? 0) }, logger: logger)
        let group = ServiceGroup(configuration: .init(services: [application], logger: logger))
        return try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            var ports = bound.stream.makeAsyncIterator()
            let port = await ports.next() ?? 0
            let report = try await HTTPLoad(
                host: "127.0.0.1", port: port, connections: connections, rate: nil, seconds: min(seconds, 5),
                requests: [Self.request("/v2/Services/VA/Entities/bench/Challenges", "none")], expecting: 200
            ).run()
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return report
        }
    }

    /// An account, a service and the factors. - Returns: the paths to create challenges under, at most 10,000.
    private func fill(_ store: SQLiteChallengeStore) async throws -> (AccountCredentials, [String]) {
        let now = Timestamp.nowMs()
        let account = try await store.createAccount(nowMs: now)
        let service = try await store.createService(
            NewService(account: account.sid, friendlyName: "bench"), nowMs: now
        ).sid
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<factors {
                if number >= 500 { try await group.next() }
                group.addTask {
                    let factor = try await store.createFactor(
                        NewFactor(
                            account: account.sid, service: service, identity: Self.identity(number),
                            friendlyName: "phone", publicKey: (0..<91).map { _ in UInt8.random(in: 0...255) },
                            platform: .fcm, pushToken: String(repeating: "a", count: 140) + "\(number)",
                            appID: "com.example.bank"),
                        accessToken: nil, nowMs: now)
                    _ = try await store.verifyFactor(factor.sid, nowMs: now)
                }
            }
            try await group.waitForAll()
        }
        // What the filling itself left for Kafka is not part of the measurement.
        while true {
            let rows = try await store.claimOutbox(owner: "bench", limit: 500, leaseMs: 60_000, nowMs: now)
            if rows.isEmpty { break }
            try await store.deleteOutbox(rows.map(\.id), owner: "bench")
        }
        let paths = (0..<min(factors, 10_000)).map { _ in
            "/v2/Services/\(service)/Entities/\(Self.identity(Int.random(in: 0..<factors)))/Challenges"
        }
        return (account, paths)
    }

    private static func identity(_ number: Int) -> String { "person-\(100_000 + number)" }

    private static func request(_ path: String, _ authorization: String) -> [UInt8] {
        let body =
            "Details.Message=Sign+in+to+Bank%3F&Details.Fields=%7B%22label%22%3A%22Where%22%2C%22value%22%3A%22Berlin%22%7D"
            + "&HiddenDetails=%7B%22ip%22%3A%2210.0.0.1%22%7D"
        let head =
            "POST \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic \(authorization)\r\n"
            + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
        return Array((head + body).utf8)
    }

    private func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}
