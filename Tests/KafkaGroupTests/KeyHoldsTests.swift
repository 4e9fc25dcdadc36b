import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Testing

@Suite("A record whose key is not here")
final class KeyHoldsTests: Sendable {
    static let nowMs: Int64 = 1_790_000_000_000
    let names = TopicNames()
    let readiness = Readiness()
    let held = Mutex(-1)

    private func signer(_ keys: KeyRing) -> RecordSigner {
        RecordSigner(names: names, authenticator: RecordAuthenticator(keys: keys))
    }

    private func record(_ keys: KeyRing, partition: Int32 = 0, offset: Int64 = 7, ageMs: Int64 = 1) -> ConsumedRecord {
        let made = signer(keys).record(.receipts, key: "YC1", value: [1])
        return ConsumedRecord(
            topicPartition: TopicPartition(topic: made.topic, partition: partition), offset: offset,
            timestampMs: Self.nowMs - ageMs, key: made.key, value: made.value, headers: made.headers)
    }

    private func holds(longest: Duration = KeyHolds.longest) -> KeyHolds {
        KeyHolds(
            signer: signer(.random(id: "k1")), readiness: readiness,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, longest: longest, nowMs: { Self.nowMs }
        ) { count in self.held.withLock { $0 = count } }
    }

    @Test(
        "is waited for, and readiness names the partition, the key and what to do; what is ours, forged or bare is not")
    func waits() {
        let holds = holds()
        #expect(!holds.mustWait(before: record(.random(id: "k1"))), "a wrong code")
        #expect(readiness.isReady)
        let genuine = record(.random(id: "k2"))
        #expect(holds.mustWait(before: genuine) && holds.mustWait(before: genuine))
        #expect(holds.mustWait(before: record(.random(id: "k3"), partition: 4)))
        #expect(held.withLock { $0 } == 2)
        let reason = readiness.reasons[KeyHolds.check] ?? ""
        for part in ["beckon.receipts[0]", "beckon.receipts[4]", "k2", "k3", "BECKON_RECORD_KEYS"] {
            #expect(reason.contains(part), "\(reason)")
        }
        holds.end(genuine.topicPartition)
        holds.end(TopicPartition(topic: genuine.topicPartition.topic, partition: 4))
        #expect(readiness.isReady && held.withLock { $0 } == 0)
    }

    @Test("a partition that has come to a readable record is not held any more")
    func goesOn() {
        let holds = holds()
        #expect(holds.mustWait(before: record(.random(id: "k2"))))
        #expect(!holds.mustWait(before: record(.random(id: "k1"), offset: 8)))
        #expect(readiness.isReady)
    }

    @Test(
        "is waited for no longer than a challenge may live: by its time stamp, and by our clock when it has none to trust"
    )
    func bounded() {
        #expect(!holds().mustWait(before: record(.random(id: "k2"), ageMs: 3_600_000)))
        #expect(holds().mustWait(before: record(.random(id: "k2"), ageMs: 3_599_000)))
        let future = record(.random(id: "k2"), ageMs: -86_400_000)
        #expect(holds().mustWait(before: future))
        #expect(!holds(longest: .zero).mustWait(before: future))
    }

    @Test(
        "a partition is held for that time in all, however many such records follow each other, also after a rebalance")
    func inAll() async throws {
        let longest = Duration.milliseconds(200)
        let holds = holds(longest: longest)
        func record(_ offset: Int64) -> ConsumedRecord { self.record(.random(id: "zz"), offset: offset, ageMs: 0) }
        let began = ContinuousClock.now
        #expect(holds.mustWait(before: record(1)))
        while holds.mustWait(before: record(1)) { try await Task.sleep(for: .milliseconds(5)) }
        #expect(ContinuousClock.now - began >= longest)
        for offset in Int64(2)..<50 { #expect(!holds.mustWait(before: record(offset))) }
        holds.end(record(1).topicPartition)
        #expect(!holds.mustWait(before: record(50)))
        #expect(readiness.isReady)
    }
}
