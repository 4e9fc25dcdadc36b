import ChallengeModel
import Foundation
import KafkaClient
import ServiceSupport
import Synchronization
import Wire

/// The records of the measurement, signed as the other roles sign them.
final class TrackerLoadRecords: Sendable {
    let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
    private let seed = UInt64.random(in: .min ... .max)
    private let ends = Mutex(Array(repeating: [Int64](repeating: 0, count: 4), count: TrackerLoad.partitions))

    /// Dispatch and outcome of each challenge.
    /// - Returns: per partition, per topic.
    func made(_ indices: Range<Int>, latencyMs: @Sendable @escaping (Int) -> UInt32) async -> [[[ConsumedRecord]]] {
        var feed = Array(repeating: [[ConsumedRecord](), []], count: TrackerLoad.partitions)
        await withTaskGroup(of: [(Int, [ConsumedRecord])].self) { group in
            for chunk in stride(from: indices.lowerBound, to: indices.upperBound, by: 1_000) {
                group.addTask {
                    (chunk..<min(chunk + 1_000, indices.upperBound)).map {
                        self.unplaced($0, latencyMs: latencyMs($0), withReceipt: false)
                    }
                }
            }
            for await made in group {
                for (partition, records) in made {
                    for topic in 0..<2 { feed[partition][topic].append(records[topic]) }
                }
            }
        }
        return feed.enumerated().map { partition, lists in
            lists.enumerated().map { topic, records in records.map { placed($0, partition, topic) } }
        }
    }

    /// Dispatch, outcome and receipt of one challenge.
    func story(_ index: Int, latencyMs: UInt32) -> (partition: Int, records: [ConsumedRecord]) {
        let (partition, records) = unplaced(index, latencyMs: latencyMs, withReceipt: true)
        return (partition, records.enumerated().map { placed($1, partition, $0) })
    }

    /// Offsets ascend in the order of reading.
    private func placed(_ record: ConsumedRecord, _ partition: Int, _ topic: Int) -> ConsumedRecord {
        let offset = ends.withLock { ends in
            defer { ends[partition][topic] += 1 }
            return ends[partition][topic]
        }
        return ConsumedRecord(
            topicPartition: record.topicPartition, offset: offset, timestampMs: record.timestampMs, key: record.key,
            value: record.value, headers: record.headers)
    }

    private func unplaced(_ index: Int, latencyMs: UInt32, withReceipt: Bool) -> (Int, [ConsumedRecord]) {
        let nowMs = Timestamp.nowMs()
        // Cheap ids: the making of records is to disturb what is measured as little as possible.
        var random = SplitMix(state: seed &+ UInt64(index) &* 0x1234_5678_9abc_def1 &+ (withReceipt ? 1 : 0))
        func sid(_ prefix: String) -> String { PackedSID(high: random.next(), low: random.next()).text(prefix: prefix) }
        let challengeSid = sid(ChallengeKind.prefix)
        let factor = sid(FactorKind.prefix)
        let account = "AC" + String(repeating: "1", count: 32)
        let service = "VA" + String(repeating: "2", count: 32)
        var challenge = ChallengeRecord()
        challenge.dispatch.accountSid = account
        challenge.dispatch.serviceSid = service
        challenge.dispatch.challengeSid = challengeSid
        challenge.dispatch.entitySid = sid(EntityKind.prefix)
        challenge.dispatch.identity = "person-\(index)"
        challenge.dispatch.dispatchID = "c"
        challenge.dispatch.message = "Sign in to the web bank from Lisbon on a new computer (1234567)?".padding(
            toLength: 64, withPad: " ", startingAt: 0)
        challenge.dispatch.createdAtMs = nowMs
        challenge.dispatch.expiresAtMs = nowMs + 300_000
        challenge.dispatch.redelivery.expectedLatencyMs = latencyMs
        var target = DispatchTarget()
        target.factorSid = factor
        target.platform = .apn
        target.pushToken = sid("") + sid("")
        target.appID = "com.example.bank"
        target.credentialSid = "CR" + String(repeating: "3", count: 32)
        target.registeredAtMs = nowMs - 1_000_000
        challenge.dispatch.targets = [target]
        challenge.dispatch.fallbacks = ["sms"]
        var outcome = OutcomeRecord()
        outcome.push.accountSid = account
        outcome.push.serviceSid = service
        outcome.push.challengeSid = challengeSid
        outcome.push.factorSid = factor
        outcome.push.dispatchID = "c"
        outcome.push.kind = .visible
        outcome.push.disposition = .accepted
        outcome.push.providerStatus = 200
        outcome.push.platform = .apn
        outcome.push.appID = target.appID
        outcome.push.credentialSid = target.credentialSid
        outcome.push.registeredAtMs = target.registeredAtMs
        outcome.push.expiresAtMs = challenge.dispatch.expiresAtMs
        outcome.push.sentAtMs = nowMs
        outcome.push.atMs = nowMs
        let partition = Murmur2.partition(key: Array(challengeSid.utf8), partitions: TrackerLoad.partitions)
        func consumed(_ topic: Topic, _ value: [UInt8]) -> ConsumedRecord {
            let record = signer.record(topic, key: challengeSid, value: value)
            return ConsumedRecord(
                topicPartition: TopicPartition(topic: record.topic, partition: partition), offset: 0,
                timestampMs: nowMs, key: record.key, value: record.value, headers: record.headers)
        }
        var records = [
            consumed(.challenges, challenge.protobufBytes()), consumed(.outcomes, outcome.protobufBytes()),
        ]
        if withReceipt {
            var receipt = Receipt()
            receipt.accountSid = account
            receipt.serviceSid = service
            receipt.challengeSid = challengeSid
            receipt.factorSid = factor
            receipt.dispatchID = "c"
            receipt.channel = .visiblePush
            receipt.receivedAtMs = nowMs
            records.append(consumed(.receipts, receipt.protobufBytes()))
        }
        return (Int(partition), records)
    }
}
