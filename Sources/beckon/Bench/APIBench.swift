import AsyncHTTPClient
import ChallengeModel
import Challenges
import Crypto
import DeviceKit
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import ServiceSupport
import Storage
import Wire

/// One measurement: the client in this process, everything else in processes of their own.
struct APIBench {
    struct Call: Encodable {
        let count: Int
        let p50Ms: Double
        let p99Ms: Double
    }

    struct Report: Encodable {
        var creates = 0
        var seconds = 0.0
        var perSecond = 0.0
        var p50Ms = 0.0
        var p99Ms = 0.0
        var errors = 0
        var firstError: String?
        var calls: [String: Call]?
        var cpuUsPerCreate = 0.0
        var brokerCpuUs = 0.0
        var rssMb = 0.0
        var idleConnections = 0
        var commitsPerSecond = 0.0
        var outboxRows = 0.0
        var factors = 0
        var closedChallenges = 0
        var kafka = "up"
        var helloPerSecond = 0.0
        var helloCpuUs = 0.0
        var ratio = 0.0
        var producers: Int?
        var serverCpuUsPerCreate: Double?
        var roundTrips: Int?
        var statements: Int?
        var roundTripMs: Double?
        var pgbenchPerSecond: Double?
        var pgbenchAverageMs: Double?
        var pgbenchServerCpuUs: Double?
        var pgbenchRatio: Double?
        var loadAverage = 0.0
    }

    /// A producer under load.
    fileprivate struct Target {
        let child: BenchChild
        let port: Int
        let admin: String
    }

    let options: BenchAPICommand
    private let logger = Logger(label: "beckon.bench", factory: { _ in SwiftLogNoOpLogHandler() })

    func run() async throws -> Report {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var children: [BenchChild] = []
        let client = manyConnectionsClient(4)
        do {
            let report = try await measure(folder, client, &children)
            for child in children.reversed() { await child.stop() }
            try await client.shutdown()
            return report
        } catch {
            for child in children.reversed() { await child.stop() }
            try? await client.shutdown()
            throw error
        }
    }

    private func measure(_ folder: URL, _ client: HTTPClient, _ children: inout [BenchChild]) async throws -> Report {
        let world = try await BenchWorld(
            place(folder), people: options.factors, closedChallenges: options.closedChallenges, logger: logger)
        var report = Report()
        (report.factors, report.closedChallenges) = (options.factors, options.closedChallenges)
        let database =
            options.isDatabase
            ? try await DatabaseBench(
                options.database, world: world, roundTripMs: options.roundTripMs, nowMs: Timestamp.nowMs()) : nil
        if options.helloSeconds > 0 { try await hello(folder, &report) }
        let broker = try BenchChild("broker", ["broker", "--admin-port", "0"], [:], folder, log: nil)
        children.append(broker)
        let brokerFacts = try await broker.ready()
        let environment = world.environment(kafka: brokerFacts["kafka"] ?? "", url: database?.url)
        var targets: [Target] = []
        for number in 0..<options.producers {
            let (name, log) = number == 0 ? ("producer", "") : ("producer-\(number)", ".\(number)")
            let producer = try BenchChild(name, ["producer"], environment, folder, log: options.log.map { $0 + log })
            children.append(producer)
            let facts = try await producer.ready()
            guard let port = facts["api"].flatMap({ URL(string: $0)?.port }), let admin = facts["admin"] else {
                throw BenchError("the producer's ready file has no address")
            }
            targets.append(Target(child: producer, port: port, admin: admin))
        }
        let ports = targets.map(\.port)
        if options.load == .list {
            // Something to be found: a pending challenge for each of those who will ask.
            _ = try await load(
                ports, rate: 1000, seconds: Double(min(world.callers.count, BenchWorld.mostListers)) / 1000 + 0.2,
                scripts: world.creates(options.connections))
        }
        if options.kafkaDown {
            report.kafka = "down"
            try await post((brokerFacts["control"] ?? "") + "/brokers/1/down", client)
        }
        let idle = try await IdleConnections(port: ports[0], count: options.idle)
        let commitsBefore = try await metric("beckon_store_commits_total", targets, client)
        let (cpu, brokerCPU) = (targets.cpuSeconds, broker.cpuSeconds)
        let serverCPU = database?.serverCPUSeconds
        let memories = targets.map { MemoryWatch($0.child) }
        let result = try await withThrowingTaskGroup(of: Void.self) { group in
            for memory in memories { group.addTask { await memory.run() } }
            let scripts: [any LoadScript] =
                switch options.load {
                case .create: world.creates(options.connections)
                case .list: try world.lists(options.connections)
                case .mixed: world.mixed(options.connections)
                }
            let result = try await load(
                ports, rate: options.rate > 0 ? options.rate : nil, seconds: options.seconds, scripts: scripts)
            group.cancelAll()
            return result
        }
        report.idleConnections = idle.open
        try await idle.close()
        take(result, into: &report)
        let calls = Double(max(1, result.count))
        report.cpuUsPerCreate = rounded((targets.cpuSeconds - cpu) * 1e6 / calls)
        report.brokerCpuUs = rounded((broker.cpuSeconds - brokerCPU) * 1e6 / calls)
        report.rssMb = rounded(memories.map(\.megabytes.0).max() ?? 0)
        report.outboxRows = try await metric("beckon_outbox_rows", Array(targets.prefix(1)), client)
        report.commitsPerSecond = rounded(
            (try await metric("beckon_store_commits_total", targets, client) - commitsBefore) / result.seconds)
        if report.helloPerSecond > 0 { report.ratio = rounded(report.perSecond / report.helloPerSecond) }
        var loads = [0.0, 0, 0]
        if getloadavg(&loads, 3) > 0 { report.loadAverage = rounded(loads[0]) }
        guard let database else { return report }
        if let serverCPU, let now = database.serverCPUSeconds {
            report.serverCpuUsPerCreate = rounded((now - serverCPU) * 1e6 / calls)
        }
        // Nobody else is at the server then.
        for target in targets { await target.child.stop() }
        try await compare(database, folder, &report)
        try await database.close()
        return report
    }

    private func place(_ folder: URL) throws -> BenchWorld.Place {
        guard !options.isDatabase else {
            var settings = try PostgresSettings(
                url: options.database, password: ProcessInfo.processInfo.environment["BECKON_STORE_PASSWORD"])
            settings.connections = options.storeConnections / options.producers
            return .database(settings)
        }
        let named = String(options.database.dropFirst("sqlite:".count))
        return .file(named == "temporary" ? folder.appending(path: "store.sqlite").path : named)
    }

    private func compare(_ database: DatabaseBench, _ folder: URL, _ report: inout Report) async throws {
        report.producers = options.producers
        (report.roundTrips, report.statements) = (database.script.roundTrips, database.script.statements)
        report.roundTripMs = options.roundTripMs
        guard options.pgbenchSeconds > 0, let path = DatabaseBench.pgbenchPath else { return }
        let result = try await database.pgbench(
            path, clients: options.storeConnections, seconds: options.pgbenchSeconds, folder: folder)
        report.pgbenchPerSecond = rounded(result.perSecond)
        report.pgbenchAverageMs = rounded(result.averageMs)
        if database.script.postmaster != nil {
            report.pgbenchServerCpuUs = rounded(result.serverCPUSeconds * 1e6 / max(1, result.transactions))
        }
        report.pgbenchRatio = rounded(report.perSecond / result.perSecond)
    }

    private func load(_ ports: [Int], rate: Double?, seconds: Double, scripts: [any LoadScript]) async throws
        -> HTTPLoad.Report
    {
        try await HTTPLoad(ports: ports, rate: rate, seconds: seconds, scripts: scripts).run()
    }

    private func hello(_ folder: URL, _ report: inout Report) async throws {
        let child = try BenchChild("hello", ["bench", "hello"], [:], folder, log: nil)
        let result: HTTPLoad.Report
        let cpu: Double
        do {
            let port = try await child.ready()["api"].flatMap { URL(string: $0)?.port } ?? 0
            let before = child.cpuSeconds
            let request = BenchWorld.request(
                "POST", "/v2/Services/VA/Entities/bench/Challenges", "none", form: BenchWorld.challengeForm)
            result = try await load(
                [port], rate: nil, seconds: options.helloSeconds,
                scripts: (0..<options.connections).map { _ in
                    FixedScript(kind: "hello", requests: [request], expecting: 200)
                })
            cpu = child.cpuSeconds - before
        } catch {
            await child.stop()
            throw error
        }
        await child.stop()
        report.helloPerSecond = rounded(Double(result.count) / result.seconds)
        report.helloCpuUs = rounded(cpu * 1e6 / Double(max(1, result.count)))
    }

    private func take(_ result: HTTPLoad.Report, into report: inout Report) {
        var all = HTTPLoad.Report()
        all.latencies["all"] = result.latencies.values.flatMap { $0 }.sorted()
        report.creates = result.count
        report.seconds = rounded(result.seconds)
        report.perSecond = rounded(Double(result.count) / result.seconds)
        report.p50Ms = rounded(all.milliseconds(0.5, kind: "all"))
        report.p99Ms = rounded(all.milliseconds(0.99, kind: "all"))
        (report.errors, report.firstError) = (result.errors, result.firstError)
        guard result.latencies.count > 1 else { return }
        report.calls = Dictionary(
            uniqueKeysWithValues: result.latencies.map { kind, latencies in
                (
                    kind,
                    Call(
                        count: latencies.count, p50Ms: rounded(result.milliseconds(0.5, kind: kind)),
                        p99Ms: rounded(result.milliseconds(0.99, kind: kind)))
                )
            })
    }

    private func post(_ url: String, _ client: HTTPClient) async throws {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        let status = try await client.execute(request, timeout: .seconds(5)).status
        guard status == .noContent else { throw BenchError("\(url) answered \(status.code)") }
    }

    /// The sum over all labels and producers.
    private func metric(_ name: String, _ targets: [Target], _ client: HTTPClient) async throws -> Double {
        var sum = 0.0
        for target in targets {
            let request = HTTPClientRequest(url: target.admin + "/metrics")
            let response = try await client.execute(request, timeout: .seconds(5))
            let text = String(buffer: try await response.body.collect(upTo: 4 << 20))
            for line in text.split(separator: "\n") where line.hasPrefix(name) {
                sum += line.split(separator: " ").last.flatMap { Double($0) } ?? 0
            }
        }
        return sum
    }
}

extension [APIBench.Target] {
    fileprivate var cpuSeconds: Double { reduce(0) { $0 + $1.child.cpuSeconds } }
}
