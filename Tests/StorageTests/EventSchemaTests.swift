import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import ServiceSupport
import Storage
import TestSupport
import Testing

@Suite("Events for readers outside", .timeLimit(.minutes(10)))
struct EventSchemaTests {
    @Test(
        "each type of the Producer is verified by the example, read by a published SDK, and as docs/schemas describe it"
    )
    func everyType() async throws {
        let (old, new) = (KeyRing.random(id: "e1"), KeyRing.random(id: "e2"))
        let mac = RecordAuthenticator(keys: .random())
        // As while the key is rotated: some Producers sign with the new key already.
        let signers = [old, KeyRing(keys: new.keys + old.keys)].map {
            RecordSigner(names: TopicNames(), authenticator: mac, eventSigner: EventSigner(keys: $0))
        }
        var records: [ProducerRecord] = []
        for promise in ConformanceCase.all {
            try await withTemporaryFolder { folder in
                let store = try ChallengeStore.sqlite(
                    path: folder.appending(path: "store.db").path, keys: TestKeys.both, limits: promise.limits,
                    logger: quiet)
                let world = try await World(store)
                try await promise.check(world)
                _ = try await world.drain()
                for row in world.everything.values(.events) {
                    records.append(
                        signers[records.count % 2].record(
                            row.topic, key: row.key, value: row.value, contentType: row.contentType,
                            traceparent: row.traceparent))
                }
                await store.close()
            }
        }
        let tracker: Set<EventType> = [.challengeDispatched, .challengeConfirmed, .challengeUndelivered, .pushFailed]
        let report = try await EventReaders.check(
            records, keys: EventSigner(keys: KeyRing(keys: old.keys + new.keys)),
            types: EventType.allCases.filter { !tracker.contains($0) })
        guard let report else { try Test.cancel("PyPI cannot be reached") }
        #expect(report.checked == records.count)
        #expect(report.problems == [])
    }
}
