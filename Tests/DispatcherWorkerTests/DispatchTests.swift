import ChallengeModel
import Foundation
import KafkaClient
import Logging
import PushGateway
import PushProviders
import ServiceSupport
import Synchronization
import TestSupport
import Testing

@testable import DispatcherWorker

@Suite("A dispatcher on the stand-in broker", .timeLimit(.minutes(5)))
struct DispatchTests {
    @Test("every dispatch is pushed once, its outcome written, then its offset committed; a stop leaves nothing open")
    func all() async throws {
        try await Rig.with(partitions: 3) { rig in
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            try await running.ready()
            try await rig.write((1...300).map { Samples.dispatch($0) })
            try await eventually("all outcomes are written") { rig.outcomes.count == 300 }
            #expect(Set(rig.outcomes.map(\.unit)).count == 300)
            #expect(rig.outcomes.allSatisfy { $0.disposition == .accepted })
            #expect(sender.counts.values.allSatisfy { $0 == 1 })
            try await running.stop()
            var total: Int64 = 0
            for partition in Int32(0)..<3 { total += try await rig.committed(partition: partition)?.offset ?? 0 }
            #expect(total == 300)
            #expect(rig.counters.count("beckon_dispatcher_pushes_total|fcm|visible|accepted") == 300)
            #expect(!running.readiness.isReady)
        }
    }

    @Test("an offset is not committed before its outcome is there: a push held open holds the commit, not the others")
    func heldOpen() async throws {
        try await Rig.with { rig in
            let held = Samples.challenge(1)
            let sender = ScriptedSender { $0.challengeSID == held ? .hold : .answer(ScriptedSender.accepted()) }
            let first = try rig.service(sender)
            try await first.ready()
            try await rig.write([Samples.dispatch(1)] + (2...5001).map { Samples.dispatch($0) })
            try await eventually("5,000 others pass", within: .seconds(60)) { rig.outcomes.count == 5000 }
            // Two commits later, for the one that is on its way may have left before.
            let acknowledged = rig.counters.count("beckon_dispatcher_commits_total|acknowledged")
            try await eventually("commits go on") {
                rig.counters.count("beckon_dispatcher_commits_total|acknowledged") >= acknowledged + 2
            }
            #expect(try await rig.committed()?.offset == 0)
            #expect(rig.outcomes(of: 1).isEmpty)
            await first.crash()

            let second = ScriptedSender()
            let again = try rig.service(second)
            try await again.ready()
            try await eventually("the one is pushed by the next owner") { !rig.outcomes(of: 1).isEmpty }
            try await eventually("everything is committed", within: .seconds(60)) {
                try await rig.committed()?.offset == 5001
            }
            #expect(second.pushes.count == 1)
            #expect(second.pushes.first?.challengeSID == held)
            #expect(
                second.pushes.prefix(1).map(\.pushID) == sender.pushes.filter { $0.challengeSID == held }.map(\.pushID))
            try await again.stop()
        }
    }

    @Test(
        "expired, resolved, confirmed, gone and without a channel: dropped, each with its reason, and no provider call")
    func drops() async throws {
        try await Rig.with { rig in
            // Facts first, so that they are read on assignment.
            try await rig.write(Samples.resolution(2))
            try await rig.write(Samples.receipt(3, factor: 1))
            var gone = ChallengeRecord()
            gone.deviceChanged.challengeSid = Samples.challenge(4)
            gone.deviceChanged.factorSid = Samples.factor()
            gone.deviceChanged.gone = true
            try await rig.write([
                rig.signer.record(.challenges, key: Samples.challenge(4), value: gone.protobufBytes())
            ])
            try await rig.write([
                Samples.dispatch(1, expiresAtMs: Moment.now().epochMs - 1), Samples.dispatch(2),
                Samples.dispatch(3, targets: [Samples.target(1), Samples.target(2)]), Samples.dispatch(4),
                Samples.dispatch(5, targets: [Samples.target(platform: .noPush, token: "")]),
                Samples.dispatch(6, targets: [Samples.target(platform: .webpush)]),
            ])
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            try await eventually("seven outcomes") { rig.outcomes.count == 7 }
            #expect(rig.outcomes(of: 1).map(\.dropReason) == [.expiredBeforePush])
            #expect(rig.outcomes(of: 2).map(\.dropReason) == [.resolvedBeforePush])
            let third = Dictionary(grouping: rig.outcomes(of: 3), by: \.factorSid)
            #expect(third[Samples.factor(1)]?.map(\.dropReason) == [.confirmedBeforePush])
            #expect(third[Samples.factor(2)]?.map(\.disposition) == [.accepted])
            #expect(rig.outcomes(of: 4).map(\.dropReason) == [.deviceGone])
            #expect(rig.outcomes(of: 5).map(\.dropReason) == [.noPushChannel])
            #expect(rig.outcomes(of: 6).map(\.reason) == ["unsupported-platform"])
            #expect(rig.outcomes(of: 6).map(\.disposition) == [.rejected])
            #expect(sender.pushes.map(\.factorSID) == [Samples.factor(2)])

            // And while running: a receipt, then an attempt.
            try await rig.write(Samples.receipt(3, factor: 2))
            try await eventually("the receipt is read") {
                running.service.lanes.withLock { $0[0]?.status.receiptsRead } == 2
            }
            try await rig.write([Samples.dispatch(3, id: "t1", targets: [Samples.target(2)])])
            try await eventually("the attempt is dropped") {
                rig.outcomes(of: 3).contains { $0.dispatchID == "t1" && $0.dropReason == .confirmedBeforePush }
            }
            #expect(sender.pushes.count == 1)
            try await running.stop()
        }
    }

    @Test(
        "poison and forged records go to the dead letters with a reason, a misplaced one to its place; the lane goes on"
    )
    func poison() async throws {
        try await Rig.with(partitions: 2) { rig in
            let key = Samples.challenge(1)
            let home = Murmur2.partition(key: Array(key.utf8), partitions: 2)
            _ = try await rig.producer.partitionCounts(of: [rig.names[.challenges]], deadline: .seconds(60))
            let good = rig.signer.record(.challenges, key: key, value: Samples.value(Samples.dispatch(1)))
            var misplaced = good
            misplaced.partition = 1 - home
            let poison = rig.signer.record(.challenges, key: key, value: [0xff, 0x00, 0x13])
            var forged = rig.signer.record(.challenges, key: key, value: Samples.value(Samples.dispatch(1, id: "t1")))
            forged.headers = [RecordHeader(ContentType.headerName, ContentType.protobuf.rawValue)]
            let forgedReceipt = ProducerRecord(
                topic: rig.names[.receipts], key: Array(key.utf8), value: Samples.receipt(1).protobufBytes(),
                headers: forged.headers)
            try await rig.write([forgedReceipt, poison, forged, misplaced])
            try await rig.write((2...9).map { Samples.dispatch($0) })
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            try await eventually("nine outcomes, two dead letters") {
                rig.outcomes.count == 9 && rig.deadLetters.count == 2
            }
            #expect(rig.outcomes(of: 1).map(\.disposition) == [.accepted], "the forged receipt silences nothing")
            #expect(sender.counts.values.allSatisfy { $0 == 1 })
            #expect(sender.pushes.allSatisfy { $0.dispatchID == "c" }, "the forged dispatch rings no phone")
            let reasons = rig.deadLetters.map { $0.headers.text(of: RecordHeaderName.deadLetterReason) ?? "" }
            #expect(Set(reasons) == ["protobuf", "mac"])
            #expect(rig.deadLetters.contains { $0.value == poison.value })
            #expect(rig.deadLetters.allSatisfy { rig.signer.isAuthentic($0) })
            #expect(rig.counters.count("beckon_dispatcher_misplaced_total|challenges") == 1)
            #expect(rig.counters.count("beckon_dispatcher_dead_letters_total|receipts|mac") == 1)
            try await running.stop()
            var total: Int64 = 0
            for partition in Int32(0)..<2 { total += try await rig.committed(partition: partition)?.offset ?? 0 }
            #expect(total == 12, "eleven records, and the misplaced one again")
        }
    }

    @Test("credentials on configuration are opened before anything is pushed, followed, and taken back by a tombstone")
    func credentials() async throws {
        try await Rig.with { rig in
            func sealed(_ sid: String, keys: KeyRing, version: Int64 = 1) throws -> ProducerRecord {
                var credential = ProviderCredential()
                credential.accountSid = Samples.account
                credential.credentialSid = sid
                credential.fcm.projectID = "p"
                let value = try SealedConfiguration(sealing: credential, version: version, keys: keys)
                return rig.signer.record(.configuration, key: sid, value: value.protobufBytes())
            }
            let first = "CR00000000000000000000000000000001"
            let second = "CR00000000000000000000000000000002"
            let foreign = "CR00000000000000000000000000000003"
            try await rig.write([
                sealed(first, keys: rig.configurationKeys), sealed(foreign, keys: .random(id: "other")),
            ])
            try await rig.write([Samples.dispatch(1)])
            let sender = ScriptedSender()
            let known = Mutex<[String]?>(nil)
            sender.set { [weak sender] _ in
                known.withLock { $0 = $0 ?? sender?.credentials.keys.sorted() }
                return .answer(ScriptedSender.accepted())
            }
            let running = try rig.service(sender)
            try await eventually("the first push") { !sender.pushes.isEmpty }
            #expect(known.withLock { $0 } == [first])
            try await rig.write([try sealed(second, keys: rig.configurationKeys)])
            try await eventually("a new one is followed") { sender.credentials.count == 2 }
            // A forged tombstone takes nothing away.
            try await rig.write([
                ProducerRecord(topic: rig.names[.configuration], key: Array(second.utf8), value: []),
                rig.signer.record(.configuration, key: first, value: []),
            ])
            try await eventually("a deleted one is taken back") { sender.credentials.keys.sorted() == [second] }
            #expect(rig.counters.count("beckon_dispatcher_dead_letters_total|configuration|key") == 1)
            #expect(rig.counters.count("beckon_dispatcher_dead_letters_total|configuration|mac") == 1)
            // Old records, written again with the codes that they had: the credential stays gone, the newer one stays.
            try await rig.write([try sealed(second, keys: rig.configurationKeys, version: 3)])
            try await rig.write([
                try sealed(first, keys: rig.configurationKeys),
                try sealed(second, keys: rig.configurationKeys, version: 2),
                try sealed(second, keys: rig.configurationKeys, version: 0),
            ])
            try await eventually("replays are refused") {
                rig.counters.count("beckon_dispatcher_dead_letters_total|configuration|version") == 3
            }
            #expect(sender.credentials.keys.sorted() == [second])
            let mark = try SealedConfiguration(
                deleted: #require(CredentialSID(second)), account: #require(AccountSID(Samples.account)), version: 4)
            try await rig.write([rig.signer.record(.configuration, key: second, value: mark.protobufBytes())])
            try await eventually("the mark of a deletion takes it back") { sender.credentials.isEmpty }
            try await rig.write([try sealed(second, keys: rig.configurationKeys, version: 3)])
            try await eventually("and it stays gone") {
                rig.counters.count("beckon_dispatcher_dead_letters_total|configuration|version") == 4
            }
            #expect(sender.credentials.isEmpty)
            try await running.stop()
        }
    }

    @Test("topics with different numbers of partitions keep it unready, and it says which")
    func partitionCounts() async throws {
        let names = TopicNames(prefix: TestBroker.prefix())
        let broker = try await TestBroker(topics: [
            names[.challenges]: 2, names[.outcomes]: 2, names[.receipts]: 3, names[.resolutions]: 2,
            names[.configuration]: 1,
        ])
        let running = try RunningService(
            configuration: DispatcherConfiguration(
                kafka: broker.kafka, topics: names, recordKeys: Samples.keys, configurationKeys: .random()),
            sender: ScriptedSender(), logger: .init(label: "t") { _ in SwiftLogNoOpLogHandler() },
            metrics: CountedMetrics())
        try await eventually("the reason is told") {
            running.readiness.reasons[DispatcherService.Check.topics]?.contains("\(names[.receipts]): 3") == true
        }
        try await running.stop()
        await broker.close()
    }

    @Test("the window bounds what is in flight, and the rest follows as room comes")
    func window() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender { _ in .hold }
            let running = try rig.service(sender) { $0.maxPushesPerLane = 10 }
            try await running.ready()
            try await rig.write((1...100).map { Samples.dispatch($0) })
            try await eventually("the window is full") {
                rig.counters.count("beckon_dispatcher_window_full_total") > 0
            }
            // The lane counts before its pushes reach the sender.
            try await eventually("ten are in flight") { sender.inFlight == 10 }
            try await eventually("all are pushed") {
                #expect(sender.inFlight <= 10)
                sender.release()
                return rig.outcomes.count == 100
            }
            #expect(sender.counts.count == 100)
            try await running.stop()
        }
    }

    @Test("a poison record too large for a dead letter is cut, and the lane goes on")
    func tooLarge() async throws {
        try await Rig.with { rig in
            var kafka = rig.kafka
            kafka.properties["message.max.bytes"] = "1500000"
            let producer = try KafkaProducer(configuration: kafka, logger: rig.logger)
            _ = try await producer.send(
                ProducerRecord(
                    topic: rig.names[.challenges], key: Array(Samples.challenge(1).utf8),
                    value: Array(repeating: 7, count: 400_000),
                    headers: [RecordHeader("x", Array(repeating: 1, count: 800_000))]))
            await producer.close(deadline: .seconds(1))
            try await rig.write([Samples.dispatch(2)])
            let running = try rig.service(ScriptedSender())
            try await eventually("both are dealt with") { rig.outcomes.count == 1 && rig.deadLetters.count == 1 }
            #expect(rig.deadLetters[0].value == Array(repeating: 7, count: 400_000))
            #expect(rig.deadLetters[0].headers.value(of: "x") == nil)
            try await running.stop()
            #expect(try await rig.committed()?.offset == 2)
        }
    }

    @Test("without Kafka it is unready and says why, and stops when asked")
    func noKafka() async throws {
        let kafka = KafkaConfiguration(
            bootstrapServers: "127.0.0.1:1", properties: ["log_level": "0"], isEmbedded: true)
        let running = try RunningService(
            configuration: DispatcherConfiguration(
                kafka: kafka, recordKeys: Samples.keys, configurationKeys: .random()),
            sender: ScriptedSender(), logger: .init(label: "t") { _ in SwiftLogNoOpLogHandler() },
            metrics: CountedMetrics())
        try await eventually("the reason is told") {
            running.readiness.reasons[DispatcherService.Check.topics]?.contains("does not answer") == true
        }
        try await running.stop()
    }

    @Test("a background push goes beside the alert within the challenge's budget, over all its dispatches")
    func background() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender()
            let running = try rig.service(sender)
            // Of an attempt it is what the tracker knows to be left.
            for (id, budget) in [("c", UInt32(2)), ("t1", 1), ("t2", 0)] {
                let target = Samples.target(platform: .apn, budget: budget)
                try await rig.write([Samples.dispatch(1, id: id, targets: [target], background: true)])
                try await eventually("\(id) is recorded") {
                    rig.outcomes.contains { $0.dispatchID == id && $0.kind == .visible }
                }
            }
            try await eventually("five outcomes") { rig.outcomes.count == 5 }
            #expect(
                sender.pushes.map { "\($0.dispatchID) \($0.kind)" } == [
                    "c visible", "c background", "t1 visible", "t1 background", "t2 visible",
                ])
            #expect(Set(sender.pushes.map(\.pushID)).count == 5)
            try await running.stop()
        }
    }

    @Test("while the gateway has enough outstanding the lanes take no more, and go on when it has room")
    func gatewayIsFull() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender { _ in .hold }
            let running = try rig.service(sender)
            try await running.ready()
            try await rig.write([Samples.dispatch(1)])
            try await eventually("the first is outstanding") { sender.inFlight == 1 }
            sender.setFull(true)
            let before = rig.counters.count("beckon_dispatcher_window_full_total")
            try await rig.write((2...40).map { Samples.dispatch($0) })
            try await eventually("the lane has stopped") {
                rig.counters.count("beckon_dispatcher_window_full_total") > before
            }
            #expect(sender.inFlight == 1)
            sender.setFull(false)
            try await eventually("all are taken") { sender.inFlight == 40 }
            #expect(rig.outcomes.isEmpty, "nothing was deferred")
            sender.release()
            try await running.stop()
        }
    }

    @Test("a watchdog ends a worker whose push never gets an answer")
    func watchdog() async throws {
        try await Rig.with { rig in
            let sender = ScriptedSender { _ in .hold }
            let running = try rig.service(sender) { $0.watchdogBound = .seconds(1) }
            try await rig.write([Samples.dispatch(1)])
            let error = await #expect(throws: DispatcherError.self) { try await running.ended() }
            guard case .stalled(let what) = error else {
                Issue.record("expected a stall")
                return
            }
            #expect(what.contains("no answer"))
        }
    }
}
