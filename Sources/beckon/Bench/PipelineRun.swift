import AsyncHTTPClient
import ChallengeModel
import Crypto
import Foundation
import KafkaClient
import Logging
import ServiceSupport
import Simulators
import Synchronization
import Wire

/// One measurement: broker and feeder in this process, dispatcher and look-alike in processes of their own.
struct PipelineRun {
    struct Report {
        var seconds = 0.0
        var cpuSeconds = 0.0
        var highestMB = 0.0
        var endMB = 0.0
        var lost = 0
        var duplicates = 0
        var refused = 0
        var p50Ms: Int64 = 0
        var p99Ms: Int64 = 0
    }

    /// The stand-in keeps 5 MB a partition and forgets what is older.
    static let longestLeadBytes = 3 << 20
    /// Without an outcome for this long what is missing counts as lost.
    private static let patience = Duration.seconds(20)
    /// Records made before the clock starts; the rest is made while it runs.
    private static let prepared = 300_000

    let options: BenchPipelineCommand
    private let recordKeys = KeyRing.random()
    private let configurationKeys = KeyRing.random()
    private let logger = Logger(label: "beckon.bench", factory: { _ in SwiftLogNoOpLogHandler() })

    func run() async throws -> Report {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-pipeline-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let names = TopicNames(prefix: options.topicPrefix)
        let broker =
            options.kafka == nil ? try EmbeddedBroker(topics: names.standIn(partitions: options.partitions)) : nil
        var children: [BenchChild] = []
        do {
            let report = try await measure(names, broker?.bootstrapServers ?? options.kafka ?? "", folder, &children)
            for child in children.reversed() { await child.stop() }
            await broker?.close()
            return report
        } catch {
            for child in children.reversed() { await child.stop() }
            await broker?.close()
            throw error
        }
    }

    private func measure(
        _ names: TopicNames, _ servers: String, _ folder: URL, _ children: inout [BenchChild]
    ) async throws -> Report {
        var kafka = KafkaConfiguration(bootstrapServers: servers, isEmbedded: options.kafka == nil)
        // The feeder's own cost is not what is measured: it may wait a moment for a larger batch.
        kafka.properties = ["linger.ms": "1"]
        var (url, caFile) = (options.provider ?? "", options.caFile)
        var key = ApnsTokenKey()
        if options.provider == nil {
            caFile = folder.appending(path: "ca.crt").path
            let simulator = try BenchChild(
                "simulator", ["simulator", "--admin-port", "0", "--simulator-ca-file", caFile ?? ""], [:], folder,
                log: nil)
            children.append(simulator)
            let facts = try await simulator.ready()
            url = facts["apns"] ?? ""
            let known = try await Self.registeredKey(control: facts["control"] ?? "")
            (key.teamID, key.keyID, key.privateKeyPem) = (known.teamID, known.keyID, known.privateKeyPEM)
        } else {
            key.teamID = "TEAM000001"
            key.keyID = "KEY0000001"
            key.privateKeyPem = P256.Signing.PrivateKey().pemRepresentation
        }
        let load = PipelineLoad(count: options.count, names: names, recordKeys: recordKeys, kafka: kafka)
        let producer = try KafkaProducer(configuration: kafka, logger: logger)
        let partitions = try await producer.partitionCounts(of: [names[.challenges]], deadline: .seconds(10))
        let book = PipelineBook(count: options.count, partitions: partitions[names[.challenges]] ?? options.partitions)
        _ = try await producer.send(try load.credential(key, configurationKeys: configurationKeys))
        var environment = [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": servers, "BECKON_KAFKA_EMBEDDED": options.kafka == nil ? "true" : "false",
            "BECKON_TOPICS_PREFIX": options.topicPrefix, "BECKON_RECORD_KEYS": recordKeys.text,
            "BECKON_CONFIGURATION_KEYS": configurationKeys.text, "BECKON_APNS_URL": url,
            "BECKON_APNS_SANDBOX_URL": url, "BECKON_LOG_LEVEL": "warning", "BECKON_ADMIN_PORT": "0",
        ]
        if let caFile { environment["BECKON_PROVIDERS_CA_FILE"] = caFile }
        let worker = try BenchChild("dispatcher", ["dispatcher"], environment, folder, log: options.log)
        children.append(worker)
        _ = try await worker.ready()
        let ahead = load.records(0..<min(options.count, Self.prepared))
        let follower = try KafkaConsumer(configuration: kafka, following: [names[.outcomes]], logger: logger)
        defer { Task { await follower.close(deadline: .seconds(1)) } }

        let report = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await book.read(follower) }
            await book.isReading()
            let memory = MemoryWatch(worker)
            group.addTask { await memory.run() }
            let (start, cpuBefore) = (ContinuousClock.now, worker.cpuSeconds)
            group.addTask { await self.feed(load, ahead, producer, book) }
            try await book.wait(patience: Self.patience, while: { worker.isRunning })
            var report = book.report()
            report.seconds = (book.lastOutcome - start) / .seconds(1)
            report.cpuSeconds = worker.cpuSeconds - cpuBefore
            (report.highestMB, report.endMB) = memory.megabytes
            group.cancelAll()
            return report
        }
        await producer.close(deadline: .zero)
        return report
    }

    private func feed(_ load: PipelineLoad, _ ahead: [ProducerRecord], _ producer: KafkaProducer, _ book: PipelineBook)
        async
    {
        let start = ContinuousClock.now
        for index in 0..<options.count {
            if options.rate > 0, index % 50 == 0 {
                // In steps of 50, so that a high rate needs no timer per record.
                try? await Task.sleep(until: start + .seconds(Double(index) / Double(options.rate)), clock: .continuous)
            }
            let record = index < ahead.count ? ahead[index] : load.record(index)
            guard await book.mayLead(index, record) else { return }
            producer.enqueue(record) { result in
                if case .failure = result { book.failed() }
            }
        }
    }

    private static func registeredKey(control: String) async throws -> APNsKey {
        guard let url = URL(string: control + "/keys/apn") else { throw SimulatorError("no control address") }
        let client = manyConnectionsClient(2)
        do {
            let key = try JSONDecoder().decode(
                APNsKey.self, from: try await Playground.post(url.absoluteString, client))
            try await client.shutdown()
            return key
        } catch {
            try? await client.shutdown()
            throw error
        }
    }
}

/// Makes the records: one device each, a message and tokens of ordinary length.
struct PipelineLoad: Sendable {
    let count: Int
    let names: TopicNames
    let signer: RecordSigner
    private let account = AccountSID.generate(nowMs: 0).rawValue
    private let service = ServiceSID.generate(nowMs: 0).rawValue
    private let entity = EntitySID.generate(nowMs: 0).rawValue
    private let credentialSID = CredentialSID.generate(nowMs: 0).rawValue
    private let nowMs = Timestamp.nowMs()

    init(count: Int, names: TopicNames, recordKeys: KeyRing, kafka: KafkaConfiguration) {
        self.count = count
        self.names = names
        signer = RecordSigner(names: names, authenticator: RecordAuthenticator(keys: recordKeys))
    }

    func credential(_ key: ApnsTokenKey, configurationKeys: KeyRing) throws -> ProducerRecord {
        var credential = ProviderCredential()
        (credential.accountSid, credential.credentialSid) = (account, credentialSID)
        credential.apnsToken = key
        let sealed = try SealedConfiguration(sealing: credential, keys: configurationKeys)
        return signer.record(.configuration, key: credentialSID, value: sealed.protobufBytes())
    }

    func records(_ range: Range<Int>) -> [ProducerRecord] { range.map(record) }

    func record(_ index: Int) -> ProducerRecord {
        var target = DispatchTarget()
        target.factorSid = FactorSID(bytes: Self.bytes(3, index)).rawValue
        target.platform = .apn
        target.pushToken =
            String(repeating: "0123456789abcdef", count: 3) + Hexadecimal.encode(UInt64(index), digits: 16)
        target.appID = "org.example.beckon"
        target.credentialSid = credentialSID
        target.environment = .production
        target.registeredAtMs = nowMs - 86_400_000
        target.backgroundBudget = 2
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = account
        dispatch.serviceSid = service
        dispatch.challengeSid = ChallengeSID(bytes: Self.bytes(3, index)).rawValue
        dispatch.entitySid = entity
        dispatch.identity = "person-\(index)"
        dispatch.dispatchID = "c"
        dispatch.message = "Sign in to Example Bank from Berlin, Germany, with Firefox on Linux?"
        dispatch.createdAtMs = nowMs
        dispatch.expiresAtMs = nowMs + 3_600_000
        dispatch.targets = [target]
        var value = ChallengeRecord()
        value.dispatch = dispatch
        return signer.record(
            .challenges, key: dispatch.challengeSid, value: value.protobufBytes(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    }

    /// The index that a challenge's SID ends with; nil: not of this run.
    static func index(ofKey key: [UInt8]) -> Int? {
        guard key.count == 34 else { return nil }
        return key.suffix(16).reduce(Int?(0)) { value, byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value.map { $0 << 4 | Int(byte - UInt8(ascii: "0")) }
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value.map { $0 << 4 | Int(byte - UInt8(ascii: "a") + 10) }
            default: nil
            }
        }
    }

    private static func bytes(_ variant: UInt8, _ index: Int) -> [UInt8] {
        [variant, 1, 2, 3, 4, 5, 6, 7] + (0..<8).reversed().map { UInt8(truncatingIfNeeded: index >> ($0 * 8)) }
    }

}
