import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport
import Synchronization
import TestSupport
import Testing
import Wire

@testable import KafkaGroup

/// Dead letters that are read and written back on a broker: which come back, how, and which never do.
@Suite("Dead letters are listed and replayed", .timeLimit(.minutes(5)))
struct DeadLetterReplayTests {
    static let sid = "YC" + String(repeating: "01", count: 16)
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// A broker with all topics of a prefix of its own, and what reads and writes there.
    private struct Bench {
        let broker: TestBroker
        let signer: RecordSigner
        let producer: KafkaProducer
        let archive: DeadLetterArchive
        var names: TopicNames { signer.names }
        var replay: DeadLetterReplay {
            DeadLetterReplay(archive: archive, producer: producer) { Timestamp.nowMs() }
        }

        /// As the role does that reads `record`.
        func refuse(_ record: ConsumedRecord, _ reason: String) async throws -> DeadLetter.ID {
            let written = try await producer.send(signer.deadLetter(record, reason: reason, detail: "a detail"))
            return DeadLetter.ID(partition: written.topicPartition.partition, offset: written.offset)
        }
    }

    private func withBench(_ body: (Bench) async throws -> Void) async throws {
        let names = TopicNames(prefix: TestBroker.prefix())
        let broker = try await TestBroker(
            topics: Dictionary(uniqueKeysWithValues: Topic.allCases.map { (names[$0], 2) }))
        let signer = RecordSigner(names: names, authenticator: RecordAuthenticator(keys: .random()))
        let producer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        let bench = Bench(
            broker: broker, signer: signer, producer: producer,
            archive: DeadLetterArchive(kafka: broker.kafka, signer: signer, logger: logger))
        let result: Result<Void, any Error>
        do { result = .success(try await body(bench)) } catch { result = .failure(error) }
        await producer.close(deadline: .seconds(5))
        await broker.close()
        try result.get()
    }

    @Test(
        "what anybody may write as a dead letter is listed as none of ours, whatever its numbers, and little of it is kept"
    )
    func foreign() throws {
        let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        let long = String(repeating: "x", count: 900_000)
        for number in [
            "9223372036854775807", "-9223372036854775808", "253402300800000", "-1", "", "1e3", "99999999999999999999",
        ] {
            for topic in [Topic.challenges, .requests, .events] {
                let record = ConsumedRecord(
                    topicPartition: TopicPartition(topic: signer.names[.deadLetters], partition: 0), offset: 1,
                    timestampMs: .max, key: Array(long.utf8), value: [],
                    headers: [
                        RecordHeader(RecordHeaderName.deadLetterTopic, signer.names[topic]),
                        RecordHeader(RecordHeaderName.deadLetterTimestamp, number),
                        RecordHeader(RecordHeaderName.deadLetterOffset, number),
                        RecordHeader(RecordHeaderName.deadLetterPartition, number),
                        RecordHeader(RecordHeaderName.deadLetterDetail, long), RecordHeader("x", long),
                    ])
                let letter = DeadLetter(record, signer: signer)
                #expect(letter.refusal(nowMs: Timestamp.nowMs()) == .notBeckons)
                #expect(letter.timestampMs == -1)
                #expect(letter.key.count <= 1024 && letter.detail.utf8.count <= 1024 && letter.headers.isEmpty)
            }
        }
    }

    private func read(
        _ record: ProducerRecord, offset: Int64 = 7, timestampMs: Int64 = Timestamp.nowMs()
    ) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: TopicPartition(topic: record.topic, partition: 1), offset: offset,
            timestampMs: timestampMs, key: record.key, value: record.value, headers: record.headers)
    }

    private func dispatch(_ signer: RecordSigner, message: String = "m", lifeMs: Int64 = 300_000) -> ProducerRecord {
        var dispatch = ChallengeDispatch()
        dispatch.challengeSid = Self.sid
        dispatch.message = message
        dispatch.expiresAtMs = Timestamp.nowMs() + lifeMs
        var record = ChallengeRecord()
        record.dispatch = dispatch
        return signer.record(
            .challenges, key: Self.sid, value: record.protobufBytes(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    }

    private func request(
        _ names: TopicNames, id: String = "r1", key: String = "person", ttl: UInt32 = 0
    ) -> ProducerRecord {
        var request = ChallengeRequest()
        request.requestID = id
        request.ttlSeconds = ttl
        return ProducerRecord(
            topic: names[.requests], key: Array(key.utf8), value: request.protobufBytes(),
            headers: [RecordHeader(ContentType.headerName, "application/protobuf"), RecordHeader("x", "1")])
    }

    /// The records of a topic, read until there are `count`, or after the last of them no more have come.
    private func records(_ bench: Bench, _ topic: Topic, _ count: Int) async throws -> [ConsumedRecord] {
        let name = bench.names[topic]
        return try await TopicTail.following([name], kafka: bench.broker.kafka, logger: logger) { tail in
            let end = ContinuousClock.now + .seconds(60)
            while tail.count(of: name) < count, ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(10))
            }
            return tail.records(of: name)
        }
    }

    @Test("a genuine record comes back byte by byte under its own MAC, with its time and the replay's id")
    func genuine() async throws {
        try await withBench { bench in
            let original = dispatch(bench.signer)
            let timestampMs = Timestamp.nowMs() - 1000
            let id = try await bench.refuse(read(original, timestampMs: timestampMs), "key")
            let report = try await bench.replay.run([id], id: "abc")
            #expect(report.fates == [id: .replayed] && report.next == nil)
            let back = try #require(try await records(bench, .challenges, 1).first)
            #expect(back.key == original.key && back.value == original.value && back.timestampMs == timestampMs)
            #expect(bench.signer.isAuthentic(back))
            var expected = original.headers.map { "\($0)" }
            expected.append("\(RecordHeader(RecordHeaderName.replay, "abc"))")
            #expect(back.headers.map { "\($0)" }.sorted() == expected.sorted())
        }
    }

    @Test("a forged record never becomes valid: nothing is written, whatever its dead letter says")
    func forged() async throws {
        try await withBench { bench in
            let stranger = RecordSigner(names: bench.names, authenticator: RecordAuthenticator(keys: .random(id: "k1")))
            var bare = dispatch(bench.signer)
            bare.headers.removeAll { $0.name == RecordAuthenticator.headerName }
            var altered = dispatch(bench.signer)
            altered.value = dispatch(bench.signer, message: "another").value
            // A genuine record of another topic has no valid MAC here.
            var displaced = dispatch(bench.signer)
            displaced.topic = bench.names[.outcomes]
            var ids: Set<DeadLetter.ID> = []
            for (index, record) in [dispatch(stranger), bare, altered, displaced].enumerated() {
                ids.insert(try await bench.refuse(read(record, offset: Int64(index)), "mac"))
            }
            let report = try await bench.replay.run(ids)
            #expect(report.replayed == 0 && report.refused == [.forged: 4], "\(report.fates)")
            let ends = try await ends(bench)
            #expect(ends == [:], "something was written: \(ends)")
        }
    }

    /// Topics other than `dead-letters` that contain records, and how many.
    private func ends(_ bench: Bench) async throws -> [String: Int64] {
        let topics = Topic.allCases.filter { $0 != .deadLetters }.map { bench.names[$0] }
        let consumer = try KafkaConsumer(configuration: bench.broker.kafka, following: topics, logger: logger)
        let partitions = topics.flatMap { name in (0..<2).map { TopicPartition(topic: name, partition: Int32($0)) } }
        let ends = try await consumer.endOffsets(partitions, deadline: .seconds(30))
        await consumer.close(deadline: .seconds(2))
        return Dictionary(ends.map { ($0.key.topic, $0.value) }, uniquingKeysWith: +).filter { $0.value > 0 }
    }

    @Test("headers that somebody changed send no record to another topic")
    func changedHeaders() async throws {
        try await withBench { bench in
            // An attacker may write to `challenges`, and so gets a dead letter of any bytes; it copies this dead letter.
            var forged = dispatch(bench.signer)
            forged.headers = []
            forged.value = request(bench.names).value
            var copy = bench.signer.deadLetter(read(forged), reason: "mac", detail: "")
            copy.headers.removeAll { $0.name == RecordHeaderName.deadLetterTopic }
            copy.headers.append(RecordHeader(RecordHeaderName.deadLetterTopic, bench.names[.requests]))
            var unsealed = copy
            unsealed.headers.removeAll { $0.name == RecordHeaderName.deadLetterSeal }
            var invented = unsealed
            invented.headers.removeAll { $0.name == RecordAuthenticator.headerName }
            var ids: Set<DeadLetter.ID> = []
            for record in [copy, unsealed, invented] {
                let written = try await bench.producer.send(record)
                ids.insert(DeadLetter.ID(partition: written.topicPartition.partition, offset: written.offset))
            }
            let report = try await bench.replay.run(ids)
            #expect(report.refused == [.notBeckons: 2, .unsealed: 1], "\(report.fates)")
            #expect(try await ends(bench) == [:])
        }
    }

    @Test("expired, incomplete, repeated and missing ones are refused, each with its reason")
    func refused() async throws {
        try await withBench { bench in
            let now = Timestamp.nowMs()
            let signer = bench.signer
            var large = request(bench.names, id: "large")
            large.value = Array(repeating: 1, count: 600_000)
            let expired = try await bench.refuse(read(dispatch(signer, lifeMs: -1), offset: 1), "key")
            let oldRequest = try await bench.refuse(
                read(request(bench.names, ttl: 60), offset: 2, timestampMs: now - 61_000), "account")
            let oldResolution = try await bench.refuse(
                read(
                    signer.record(.resolutions, key: Self.sid, value: Resolution().protobufBytes()), offset: 3,
                    timestampMs: now - 3_700_000), "key")
            let cut = try await bench.refuse(read(large, offset: 4), "protobuf")
            let first = try await bench.refuse(read(request(bench.names), offset: 5), "account")
            let again = try await bench.refuse(read(request(bench.names), offset: 5), "account")
            let configuration = try await bench.refuse(
                read(signer.record(.configuration, key: "CR", value: [1]), offset: 6), "refused")
            let gone = DeadLetter.ID(partition: 1, offset: 100_000)
            let report = try await bench.replay.run([
                expired, oldRequest, oldResolution, cut, first, again, configuration, gone,
            ])
            #expect(
                report.fates == [
                    expired: .refused(.expired), oldRequest: .refused(.expired), oldResolution: .refused(.expired),
                    cut: .refused(.cut), first: .replayed, again: .refused(.duplicate),
                    configuration: .refused(.topic), gone: .refused(.gone),
                ])
            #expect(try await ends(bench) == [bench.names[.requests]: 1])
        }
    }

    @Test("a key that is missing is named as the reason, and with the key the record comes back")
    func missingKey() async throws {
        try await withBench { bench in
            let old = KeyRing.random(id: "old")
            let before = RecordSigner(names: bench.names, authenticator: RecordAuthenticator(keys: old))
            let id = try await bench.refuse(read(dispatch(before)), "key")
            let without = try #require(try await bench.archive.letter(id)).letter
            #expect(without.refusal(nowMs: Timestamp.nowMs()) == .keyMissing)
            // The dead letter's key first, and the original's.
            let current = KeyRing.random(id: "now")
            let both = RecordSigner(
                names: bench.names, authenticator: RecordAuthenticator(keys: KeyRing(keys: current.keys + old.keys)))
            let letter = both.deadLetter(read(dispatch(before), offset: 8), reason: "key", detail: "")
            let written = try await bench.producer.send(letter)
            let replay = DeadLetterReplay(
                archive: DeadLetterArchive(kafka: bench.broker.kafka, signer: both, logger: logger),
                producer: bench.producer
            ) { Timestamp.nowMs() }
            let report = try await replay.run([
                DeadLetter.ID(partition: written.topicPartition.partition, offset: written.offset)
            ])
            #expect(report.replayed == 1, "\(report.fates)")
        }
    }

    @Test("records of one partition come back in their original order, also when their dead letters do not")
    func order() async throws {
        try await withBench { bench in
            var ids: Set<DeadLetter.ID> = []
            for offset in [1, 4, 2, 3] as [Int64] {
                ids.insert(
                    try await bench.refuse(read(request(bench.names, id: "r\(offset)"), offset: offset), "account"))
            }
            let report = try await bench.replay.run(ids)
            #expect(report.replayed == 4)
            let back = try await records(bench, .requests, 4).map {
                try ChallengeRequest(value: $0.value, contentType: nil).requestID
            }
            #expect(back == ["r1", "r2", "r3", "r4"])
        }
    }

    @Test("a replay that is stopped says where to go on, and the next one finishes it")
    func stopped() async throws {
        try await withBench { bench in
            var ids: Set<DeadLetter.ID> = []
            for number in 0..<6 {
                ids.insert(
                    try await bench.refuse(
                        read(request(bench.names, id: "r\(number)", key: "k\(number)"), offset: Int64(number)),
                        "account"))
            }
            let done = Mutex(0)
            let first = try await bench.replay.run(
                ids, id: "abc", shouldStop: { done.withLock { $0 >= 2 } },
                progress: { _, _ in done.withLock { $0 += 1 } }
            )
            #expect(first.replayed == 2 && first.fates.count == 2)
            let next = try #require(first.next)
            #expect(next == ids.subtracting(first.fates.keys).min())
            let rest = ids.filter { $0 >= next }
            let second = try await bench.replay.run(rest, id: first.id)
            #expect(second.next == nil && first.replayed + second.replayed == 6)
            let back = try await records(bench, .requests, 6)
            #expect(back.count == 6 && back.allSatisfy { $0.headers.text(of: RecordHeaderName.replay) == "abc" })
        }
    }

    @Test("a list has the newest that its filter selects, without payloads, and says when it did not read all")
    func list() async throws {
        try await withBench { bench in
            for number in 0..<8 {
                _ = try await bench.refuse(
                    read(request(bench.names, id: "r\(number)", key: "same"), offset: Int64(number)),
                    number < 5 ? "account" : "field")
            }
            _ = try await bench.refuse(read(dispatch(bench.signer)), "key")
            var filter = DeadLetterFilter()
            var page = try await bench.archive.list(filter)
            #expect(page.letters.count == 9 && page.selected == 9 && page.examined == 9 && page.isComplete)
            filter.reasons = ["account"]
            page = try await bench.archive.list(filter, limit: 2)
            #expect(page.selected == 5 && page.letters.map(\.offset) == [3, 4])
            let letter = try #require(page.letters.first)
            #expect(letter.topic == .requests && letter.partition == 1 && letter.key == Array("same".utf8))
            #expect(letter.reason == "account" && letter.detail == "a detail")
            #expect(letter.contentType == "application/protobuf" && letter.headers == [RecordHeader("x", "1")])
            filter = DeadLetterFilter()
            filter.topics = [.challenges]
            #expect(try await bench.archive.list(filter).letters.map(\.reason) == ["key"])
            filter = DeadLetterFilter()
            filter.key = Self.sid
            #expect(try await bench.archive.list(filter).selected == 1)
            filter = DeadLetterFilter()
            filter.sinceMs = Timestamp.nowMs() + 60_000
            #expect(try await bench.archive.list(filter).selected == 0)
            filter = DeadLetterFilter()
            filter.from = letter.id
            filter.key = "same"
            #expect(try await bench.archive.list(filter).letters.map(\.offset) == [3, 4, 5, 6, 7])
            page = try await bench.archive.list(DeadLetterFilter(), scan: 4)
            #expect(!page.isComplete && page.examined < 9)
        }
    }

    @Test("one dead letter comes with its payload; one that is not there does not come")
    func show() async throws {
        try await withBench { bench in
            let original = dispatch(bench.signer)
            let id = try await bench.refuse(read(original), "key")
            let found = try #require(try await bench.archive.letter(id))
            #expect(found.payload == original.value && found.letter.valueByteCount == original.value.count)
            #expect(
                Topic.challenges.json(ofRecord: found.payload, contentType: found.letter.contentType)?
                    .contains(Self.sid) == true)
            #expect(try await bench.archive.letter(DeadLetter.ID(partition: id.partition, offset: 900)) == nil)
        }
    }

    @Test("a broker that does not answer ends the call at its deadline, and the error names the topic and the cause")
    func noBroker() async throws {
        let kafka = KafkaConfiguration(bootstrapServers: "127.0.0.1:1")
        let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        let archive = DeadLetterArchive(kafka: kafka, signer: signer, logger: logger)
        let error = await #expect(throws: KafkaError.self) {
            _ = try await archive.list(DeadLetterFilter(), deadline: .seconds(2))
        }
        let reason = error?.reason ?? ""
        #expect(reason.contains("beckon.dead-letters") && reason.contains("127.0.0.1:1"), "\(reason)")
    }

    @Test("ids are written as they are read", arguments: ["0:0", "11:123456789"])
    func ids(text: String) { #expect(DeadLetter.ID(text)?.description == text) }

    @Test("what is no id is not read as one", arguments: ["", "1", "1:", ":1", "-1:2", "1:-2", "1:2:3", "a:b"])
    func noIDs(text: String) { #expect(DeadLetter.ID(text) == nil) }
}
