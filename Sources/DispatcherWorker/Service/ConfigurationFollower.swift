import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport
import Synchronization
import Wire

/// Reads topic `configuration` completely, then follows it. It opens provider credentials and gives them to the
/// gateway, and removes deleted ones.
final class ConfigurationFollower: Sendable {
    private let kafka: KafkaConfiguration
    private let topic: String
    /// Fired when the topic has another number of partitions. The partitions are then discovered again.
    private let changed: ArrivalSignal
    private let signer: RecordSigner
    private let keys: KeyRing
    private let sender: any PushSending
    private let metrics: DispatcherMetrics
    private let logger: Logger
    /// The log for unusable records, because a client with write access can write any number.
    private let refusals: LimitedLog
    private let onRefusal: @Sendable (String) -> Void
    private let onRead: @Sendable () -> Void
    private let known = Mutex<Set<String>>([])
    private let readiness: Readiness
    /// Credentials whose newest record cannot be read because a key is missing, with the key's name.
    private let unreadable = Mutex<[String: Unreadable]>([:])
    private struct Unreadable {
        let key: String
        let since = ContinuousClock.now
    }
    /// How long a record without a readable one after it makes the role unready. Producers write every credential anew
    /// once an hour: what stays longer is no credential of theirs.
    private static let longestUnreadable: Duration = .seconds(3 * 3600)
    /// Maximum number of such credentials that are distinguished. More can only be written by a client with a record
    /// key, or by an unauthorised client.
    private static let mostUnreadable = 1000
    private let versions = Mutex(ConfigurationVersions())
    private let unread = Mutex<Int?>(nil)

    /// - Parameters:
    ///   - changed: fired when the topic has another number of partitions, or exists again.
    ///   - onRefusal: gets why a record cannot be used.
    ///   - onRead: called when all records that existed at the start have been read.
    init(
        configuration: DispatcherConfiguration, changed: ArrivalSignal, signer: RecordSigner, sender: any PushSending,
        readiness: Readiness, metrics: DispatcherMetrics, logger: Logger,
        onRefusal: @escaping @Sendable (String) -> Void = { _ in }, onRead: @escaping @Sendable () -> Void
    ) {
        self.changed = changed
        var kafka = configuration.kafka
        // A new credential is to be here before the first challenge that needs it.
        kafka.embeddedFetchWaitMs = min(kafka.embeddedFetchWaitMs, 20)
        self.kafka = kafka
        topic = configuration.topics[.configuration]
        self.signer = signer
        keys = configuration.configurationKeys
        self.sender = sender
        self.readiness = readiness
        self.metrics = metrics
        self.logger = logger
        refusals = LimitedLog(logger)
        self.onRefusal = onRefusal
        self.onRead = onRead
    }

    /// Follows until cancelled.
    /// - Throws: an error when librdkafka refuses a property.
    func run() async throws(KafkaError) {
        while !Task.isCancelled {
            let consumer = try KafkaConsumer(configuration: kafka, following: [topic], logger: logger)
            await follow(consumer)
            await consumer.close(deadline: .seconds(2))
        }
    }

    /// Follows until cancelled, or until the partitions have changed.
    private func follow(_ consumer: KafkaConsumer) async {
        await withDiscardingTaskGroup { group in
            group.addTask { await consumer.watchLogs() }
            group.addTask {
                while (try? await Task.sleep(for: .seconds(60))) != nil { self.forgetUnreadable() }
            }
            group.addTask {
                if await self.changed.wait() { await consumer.close(deadline: .seconds(2)) }
            }
            for await event in consumer.events {
                switch event {
                case .assigned(let assignment): group.addTask { await self.follow(assignment, consumer) }
                case .rewritten(let assignment):
                    // A topic that was created again is read completely. Credentials that are no longer in it stay
                    // unchanged.
                    logger.error("the topic configuration was created again, or cut: it is read from its start")
                    group.addTask { await self.follow(assignment, consumer) }
                case .revoked(let revocation), .lost(let revocation): await revocation.accept()
                case .fault(let error):
                    logger.debug("reading the configuration", metadata: ["error": "\(error)"])
                }
                if Task.isCancelled { break }
            }
            group.cancelAll()
        }
    }

    private func follow(_ assignment: Assignment, _ consumer: KafkaConsumer) async {
        let beginnings = Dictionary(uniqueKeysWithValues: assignment.partitions.map { ($0, StartOffset.beginning) })
        guard let ends = await ends(of: assignment.partitions, consumer) else { return }
        do {
            let readers = try await assignment.accept(from: beginnings)
            unread.withLock { $0 = readers.count }
            await withDiscardingTaskGroup { group in
                for (partition, reader) in readers {
                    group.addTask { await self.read(reader, to: ends[partition] ?? 0) }
                }
            }
        } catch {
            logger.error("the configuration cannot be read", metadata: ["error": "\(error)"])
        }
    }

    private func ends(of partitions: [TopicPartition], _ consumer: KafkaConsumer) async -> [TopicPartition: Int64]? {
        while !Task.isCancelled {
            do { return try await consumer.endOffsets(partitions, deadline: .seconds(5)) } catch {
                logger.debug("asking for the end of the configuration", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
        return nil
    }

    private func read(_ reader: PartitionReader, to end: Int64) async {
        var isRead = false
        var position: Int64 = 0
        repeat {
            if !isRead, position >= end {
                isRead = true
                finishOne()
            }
            guard let items = await reader.next(max: 500) else { return }
            for item in items {
                switch item {
                case .endOfPartition(let offset): position = max(position, offset)
                case .record(let record):
                    position = record.offset + 1
                    apply(record)
                }
            }
        } while true
    }

    private func finishOne() {
        let isLast = unread.withLock { unread in
            guard let count = unread else { return false }
            unread = count - 1
            return count == 1
        }
        if isLast { onRead() }
    }

    private func apply(_ record: ConsumedRecord) {
        let sid = String(decoding: record.key, as: UTF8.self)
        if let keyID = signer.unknownKeyID(of: record) {
            return wait(for: "record key \(keyID) (BECKON_RECORD_KEYS)", sid, record)
        }
        guard signer.isAuthentic(record) else { return refuse(record, reason: "mac", "beckon-mac is missing or wrong") }
        let partition = record.topicPartition.partition
        if record.value.isEmpty {
            isReadable(sid)
            _ = versions.withLock { $0.admit(sid: sid, version: 0, isDeletion: true, partition: partition) }
            if forget(sid) { sender.removeCredential(sid: sid) }
            return
        }
        do {
            let sealed = try SealedConfiguration(
                value: record.value, contentType: record.headers.text(of: ContentType.headerName))
            // The dispatcher does not use other kinds, such as webhooks and signing keys.
            guard sealed.kind == SealedConfiguration.credentialKind else { return isReadable(sid) }
            guard sealed.sid == sid else {
                return refuse(record, reason: "field", "the key is not the record's sid")
            }
            // The credential is opened first, because the version in an unusable record does not count.
            let credential = try sealed.deleted ? nil : sealed.openCredential(keys: keys)
            let isNews = versions.withLock {
                $0.admit(sid: sid, version: sealed.version, isDeletion: sealed.deleted, partition: partition)
            }
            guard isNews else {
                return refuse(
                    record, reason: "version",
                    "version \(sealed.version) is older than what was read of this SID or partition: a record of old was written again"
                )
            }
            isReadable(sid)
            guard let credential else {
                if forget(sid) { sender.removeCredential(sid: sid) }
                return
            }
            sender.setCredential(credential)
            let count = known.withLock { known in
                known.insert(sid)
                return known.count
            }
            metrics.set(.credentials, Double(count))
        } catch let error as RecordFormatError {
            refuse(record, reason: error.reason, error.description)
        } catch SealError.unknownKey(let id) {
            wait(for: "configuration key \(id.prefix(16)) (BECKON_CONFIGURATION_KEYS)", sid, record)
        } catch {
            refuse(record, reason: "sealed", "sealed under another key, or for another account, SID or kind")
        }
    }

    /// The record may be genuine, but its key is missing. The credential stays as it was, and the rest of the topic is
    /// read, because only the last record of a credential counts and a later one may be readable. Until then the role
    /// is unready, and pushes that need the credential are deferred, not lost.
    private func wait(for key: String, _ sid: String, _ record: ConsumedRecord) {
        let ageMs = Timestamp.range.contains(record.timestampMs) ? Timestamp.nowMs() - record.timestampMs : 0
        if CredentialSID(sid) != nil, .milliseconds(ageMs) < Self.longestUnreadable {
            unreadable.withLock { unreadable in
                guard unreadable[sid] != nil || unreadable.count < Self.mostUnreadable else { return }
                unreadable[sid] = Unreadable(key: key)
                show(unreadable)
            }
        }
        refuse(record, reason: "key", "needs the \(key), which this role does not have")
    }

    private func forgetUnreadable() {
        unreadable.withLock { unreadable in
            let kept = unreadable.filter { ContinuousClock.now - $0.value.since < Self.longestUnreadable }
            guard kept.count < unreadable.count else { return }
            unreadable = kept
            show(unreadable)
        }
    }

    private func isReadable(_ sid: String) {
        unreadable.withLock { unreadable in
            guard unreadable.removeValue(forKey: sid) != nil else { return }
            show(unreadable)
        }
    }

    private func show(_ unreadable: [String: Unreadable]) {
        metrics.set(.unreadableCredentials, Double(unreadable.count))
        guard let first = unreadable.min(by: { $0.key < $1.key }) else {
            return readiness.pass(DispatcherService.Check.credentials)
        }
        let keys = Set(unreadable.values.map(\.key)).sorted().prefix(3).joined(separator: ", ")
        readiness.fail(
            DispatcherService.Check.credentials,
            "\(unreadable.count) credentials cannot be read (\(first.key.prefix(34)) …) without the \(keys): add it and restart"
        )
    }

    /// True when the credential was known.
    private func forget(_ sid: String) -> Bool {
        let (wasKnown, count) = known.withLock { known in
            let wasKnown = known.remove(sid) != nil
            return (wasKnown, known.count)
        }
        metrics.set(.credentials, Double(count))
        return wasKnown
    }

    /// The credential stays as it was. The record is not written to the dead letters, because every dispatcher reads
    /// the whole topic at each start.
    private func refuse(_ record: ConsumedRecord, reason: String, _ detail: String) {
        metrics.count(.deadLetters, [("topic", Topic.configuration.rawValue), ("reason", reason)])
        onRefusal(detail)
        refusals.error(
            "a configuration record is not usable",
            metadata: [
                "sid": "\(String(decoding: record.key.prefix(34), as: UTF8.self))", "offset": "\(record.offset)",
                "reason": "\(reason)", "detail": "\(detail)",
            ])
    }
}
