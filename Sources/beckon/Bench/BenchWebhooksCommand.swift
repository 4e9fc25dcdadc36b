import ArgumentParser
import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import Logging
import ServiceSupport
import Simulators
import Storage
import Synchronization
import Wire

/// `beckon bench webhooks`: events through a webhook relay of its own process to a local receiver.
struct BenchWebhooksCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "webhooks",
        abstract: "Sends events through a webhook relay, in a process of its own, to a receiver over TLS.",
        discussion: """
            The stand-in broker, a SQLite store and the receiver run in this process; only the relay's CPU and memory count.
            When h2load is installed, it then posts the same body to the same receiver over HTTP/1.1 and TLS.

            Prints: deliveries, seconds (first to last delivery), per_second, cpu_us_per_delivery, rss_mb (the highest),
            repeated (deliveries beyond one of each event), plain_per_second (h2load; null: it is not installed).
            """)

    @Option(help: "Number of events; each is a challenge of its own.") var count = 30_000
    @Option(help: "Format of the webhook: form, json, cloudevents or cloudevents-binary.") var format = "form"
    @Option(help: "Connections of h2load.") var connections = 32
    @Option(help: "File for the relay's log; without it the log is discarded.") var log: String?

    func validate() throws {
        guard (100...50_000).contains(count), (1...256).contains(connections) else {
            throw ValidationError("--count must be 100 to 50000, and --connections 1 to 256")
        }
        guard WebhookFormat(rawValue: format) != nil else {
            throw ValidationError(
                "--format must be one of \(WebhookFormat.allCases.map(\.rawValue).joined(separator: ", "))")
        }
    }

    func run() async throws {
        let report = try await WebhookBench(options: self).run()
        print(
            try BenchLine.text(
                Line(
                    deliveries: count, seconds: rounded(report.seconds),
                    perSecond: rounded(Double(count) / report.seconds),
                    cpuUsPerDelivery: rounded(report.cpuSeconds * 1e6 / Double(count)),
                    rssMb: rounded(report.highestMB), repeated: report.repeated,
                    plainPerSecond: Line.OrNull(value: report.plainPerSecond.map { rounded($0) }))))
    }

    private struct Line: Encodable {
        /// Written as null when there is none; a member that is an optional would be left out.
        struct OrNull: Encodable {
            let value: Double?

            func encode(to encoder: any Encoder) throws {
                var container = encoder.singleValueContainer()
                try container.encode(value)
            }
        }

        let deliveries: Int
        let seconds: Double
        let perSecond: Double
        let cpuUsPerDelivery: Double
        let rssMb: Double
        let repeated: Int
        let plainPerSecond: OrNull
    }
}

/// One measurement.
struct WebhookBench {
    struct Report {
        var seconds = 0.0
        var cpuSeconds = 0.0
        var highestMB = 0.0
        var repeated = 0
        var plainPerSecond: Double?
    }

    private struct Seen {
        var ids: Set<String> = []
        var count = 0
        var first: ContinuousClock.Instant?
        var last: ContinuousClock.Instant?
        var body: [UInt8] = []
    }

    /// Where the receiver listens: the relay refuses the address of its own broker.
    private static let host = "127.0.0.2"
    /// The measurement ends when nothing has arrived for this long.
    private static let patience = Duration.seconds(30)

    let options: BenchWebhooksCommand

    func run() async throws -> Report {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-webhooks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let certificates = try SimulatedCertificates(hosts: [Self.host])
        let caFile = folder.appending(path: "ca.crt").path
        try certificates.writePEM(to: caFile)
        let counter = Counter()
        let receiver = SimulatedReceiver(certificates: certificates) { counter.take($0) }
        let port = try await receiver.start(host: Self.host)
        let names = TopicNames()
        let broker = try EmbeddedBroker(topics: names.standIn(partitions: 12))
        let report: Report
        do {
            report = try await measure(folder, names, broker.bootstrapServers, port, caFile, counter)
        } catch {
            await broker.close()
            await receiver.stop()
            throw error
        }
        await broker.close()
        await receiver.stop()
        return report
    }

    private func measure(
        _ folder: URL, _ names: TopicNames, _ servers: String, _ port: Int, _ caFile: String, _ counter: Counter
    ) async throws -> Report {
        let logger = Logger(label: "beckon.bench", factory: { _ in SwiftLogNoOpLogHandler() })
        let (recordKeys, storeKeys) = (KeyRing.random(), KeyRing.random())
        let path = folder.appending(path: "beckon.sqlite").path
        let url = "https://\(Self.host):\(port)/hook"
        let store = try ChallengeStore.sqlite(
            path: path, keys: StoreKeys(store: storeKeys, configuration: storeKeys), logger: logger)
        let account = try await store.createAccount(nowMs: Timestamp.nowMs()).sid
        let service = try await store.createService(
            NewService(account: account, friendlyName: "bench"), nowMs: Timestamp.nowMs()
        ).sid
        var new = NewWebhook(
            account: account, service: service, friendlyName: "bench", eventTypes: ["*"], url: url)
        new.format = WebhookFormat(rawValue: options.format) ?? .form
        let webhook = try await store.createWebhook(new, nowMs: Timestamp.nowMs())
        _ = try await store.rotateWebhookSecret(
            webhook.sid, account: account, service: service, keepFormerMs: 0, nowMs: Timestamp.nowMs())
        await store.close()

        var kafka = KafkaConfiguration(bootstrapServers: servers, isEmbedded: true)
        kafka.properties = ["linger.ms": "5"]
        let producer = try KafkaProducer(configuration: kafka, logger: logger)
        let signer = RecordSigner(names: names, authenticator: RecordAuthenticator(keys: recordKeys))
        for number in 0..<options.count {
            let subject = ChallengeSID.generate(nowMs: Timestamp.nowMs()).rawValue
            let event = CloudEvent(
                id: "\(subject)/challenge.approved", type: .challengeApproved, account: account.rawValue,
                service: service.rawValue, subject: subject, timeMs: Timestamp.nowMs(), sequence: UInt64(number),
                writer: .producer,
                data: [
                    "account_sid": .string(account.rawValue), "service_sid": .string(service.rawValue),
                    "challenge_sid": .string(subject), "entity_identity": "person-00001", "status": "approved",
                ])
            let record = signer.record(.events, key: subject, value: event.jsonBytes(), contentType: .cloudEvent)
            producer.enqueue(record) { _ in }
            if number % 1000 == 0 { _ = await producer.flush(deadline: .seconds(10)) }
        }
        guard await producer.flush(deadline: .seconds(20)) else { throw BenchError("the broker takes no events") }
        await producer.close(deadline: .seconds(1))

        let relay = try BenchChild(
            "webhooks", ["webhooks"],
            [
                "BECKON_KAFKA_BOOTSTRAP_SERVERS": servers, "BECKON_KAFKA_EMBEDDED": "true",
                "BECKON_RECORD_KEYS": recordKeys.text, "BECKON_STORE_KEYS": storeKeys.text, "BECKON_STORE_PATH": path,
                "BECKON_WEBHOOKS_ALLOWED_HOSTS": "127.0.0.0/8", "BECKON_WEBHOOKS_CA_FILE": caFile,
                "BECKON_LOG_LEVEL": "warning", "BECKON_ADMIN_PORT": "0",
            ], folder, log: options.log)
        let cpuBefore = relay.cpuSeconds
        let memory = MemoryWatch(relay)
        let watching = Task { await memory.run() }
        do {
            var report = try await wait(for: counter, relay)
            report.cpuSeconds = relay.cpuSeconds - cpuBefore
            report.highestMB = memory.megabytes.0
            watching.cancel()
            await relay.stop()
            report.plainPerSecond = try await plain(url: url, folder: folder, body: counter.body)
            return report
        } catch {
            watching.cancel()
            await relay.stop()
            throw error
        }
    }

    private func wait(for counter: Counter, _ relay: BenchChild) async throws -> Report {
        var (last, changed) = (0, ContinuousClock.now)
        while counter.distinct < options.count {
            try await Task.sleep(for: .milliseconds(20))
            if counter.distinct != last { (last, changed) = (counter.distinct, .now) }
            guard relay.isRunning else { throw BenchError("the relay ended; use --log FILE to keep its log") }
            guard ContinuousClock.now - changed < Self.patience else {
                throw BenchError(
                    "\(options.count - last) events did not arrive; use --log FILE to keep the relay's log")
            }
        }
        var report = Report()
        report.seconds = counter.seconds
        report.repeated = counter.count - counter.distinct
        return report
    }

    /// The rate of h2load with the same body; nil: it is not installed.
    private func plain(url: String, folder: URL, body: [UInt8]) async throws -> Double? {
        let file = folder.appending(path: "body")
        try Data(body).write(to: file)
        let arguments = [
            "h2load", "--h1", "-n", "\(options.count)", "-c", "\(options.connections)", "-d", file.path, "-H",
            "content-type: application/x-www-form-urlencoded", url,
        ]
        let text: String? = try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    with: Result {
                        let process = Process()
                        process.executableURL = URL(filePath: "/usr/bin/env")
                        process.arguments = arguments
                        let pipe = Pipe()
                        process.standardOutput = pipe
                        process.standardError = FileHandle.nullDevice
                        try process.run()
                        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                        process.waitUntilExit()
                        return process.terminationStatus == 0 ? text : nil
                    })
            }
        }
        guard let match = text?.firstMatch(of: #/([0-9.]+) req\/s/#) else { return nil }
        return Double(match.1)
    }

    /// Counts deliveries on the receiver's thread.
    private final class Counter: Sendable {
        private let seen = Mutex(Seen())

        func take(_ request: ReceivedRequest) -> ReceiverAnswer {
            guard let id = request.header("webhook-id") else { return .status(204) }
            let now = ContinuousClock.now
            seen.withLock { seen in
                if seen.first == nil { (seen.first, seen.body) = (now, request.body) }
                seen.count += 1
                if seen.ids.insert(id).inserted { seen.last = now }
            }
            return .status(204)
        }

        var distinct: Int { seen.withLock { $0.ids.count } }
        var count: Int { seen.withLock { $0.count } }
        var body: [UInt8] { seen.withLock { $0.body } }
        var seconds: Double {
            seen.withLock { seen in
                guard let first = seen.first, let last = seen.last else { return .infinity }
                return (last - first) / .seconds(1)
            }
        }
    }
}
