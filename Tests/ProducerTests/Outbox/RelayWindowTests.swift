import ChallengeModel
import Challenges
import KafkaClient
import Testing

@testable import Producer

@Suite("Relay window")
struct RelayWindowTests {
    func row(_ id: Int64, _ key: String, topic: Topic = .challenges, expiresAtMs: Int64? = nil) -> OutboxRow {
        OutboxRow(
            id: id, topic: topic, key: key, value: [1], contentType: .protobuf, expiresAtMs: expiresAtMs,
            traceparent: nil)
    }

    @Test("rows of different keys or topics go together, rows of one key one by one")
    func order() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        let rows = [row(1, "a"), row(2, "b"), row(3, "a"), row(4, "a", topic: .events), row(5, "a")]
        let step = window.admit(rows, leaseEndsMs: 100, nowMs: 0)
        #expect(step.send.map(\.id) == [1, 2, 4])
        #expect(window.held == 5 && window.inFlight == 3)
        let next = window.finish(1, .acknowledged, nowMs: 1)
        #expect(next.delete == [1] && next.send.map(\.id) == [3])
        #expect(window.admit([row(6, "a")], leaseEndsMs: 100, nowMs: 1).send.isEmpty)
        #expect(window.finish(3, .acknowledged, nowMs: 1).send.map(\.id) == [5])
        #expect(window.finish(5, .acknowledged, nowMs: 1).send.map(\.id) == [6])
        #expect(window.finish(6, .acknowledged, nowMs: 1) == RelayWindow.Step(delete: [6]))
        #expect(window.held == 2)
    }

    @Test("a failure gives back the row and all behind it, so that nothing overtakes")
    func failure() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        _ = window.admit([row(1, "a"), row(2, "a"), row(3, "b")], leaseEndsMs: 100, nowMs: 0)
        #expect(window.finish(1, .failed, nowMs: 1) == RelayWindow.Step(release: [1, 2]))
        #expect(window.held == 1)
        #expect(window.finish(1, .acknowledged, nowMs: 1) == RelayWindow.Step(), "a late report is ignored")
        #expect(window.admit([row(1, "a"), row(2, "a")], leaseEndsMs: 100, nowMs: 2).send.map(\.id) == [1])
    }

    @Test("an expired row is deleted unsent, at the very millisecond, and the next of its key goes")
    func expired() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        let step = window.admit(
            [row(1, "a", expiresAtMs: 50), row(2, "a", expiresAtMs: 51), row(3, "a")], leaseEndsMs: 1000, nowMs: 50)
        #expect(step == RelayWindow.Step(send: [row(2, "a", expiresAtMs: 51)], delete: [1], expired: 1))
        #expect(window.finish(2, .acknowledged, nowMs: 99).send.map(\.id) == [3])
    }

    @Test("a row does not expire early because this clock is ahead of the store's")
    func clockAhead() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        window.clockAheadMs = 600
        let rows = [row(1, "a", expiresAtMs: 50), row(2, "a", expiresAtMs: 51)]
        let step = window.admit(rows, leaseEndsMs: 1000, nowMs: 650)
        #expect(step == RelayWindow.Step(send: [rows[1]], delete: [1], expired: 1))
    }

    @Test("a row whose lease would end before its report is given back, with those behind it")
    func lease() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        _ = window.admit([row(1, "a"), row(2, "a"), row(3, "a")], leaseEndsMs: 100, nowMs: 90)
        #expect(window.finish(1, .acknowledged, nowMs: 91) == RelayWindow.Step(delete: [1], release: [2, 3]))
        #expect(window.held == 0)
    }

    @Test("a refused row goes to dead letters once, and is deleted whatever they say")
    func refused() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        _ = window.admit([row(1, "a"), row(2, "a"), row(3, "b")], leaseEndsMs: 100, nowMs: 0)
        #expect(window.finish(1, .refused, nowMs: 1) == RelayWindow.Step(deadLetter: [row(1, "a")]))
        #expect(window.finish(1, .acknowledged, nowMs: 1) == RelayWindow.Step(send: [row(2, "a")], delete: [1]))
        _ = window.finish(3, .refused, nowMs: 1)
        #expect(window.finish(3, .abandoned, nowMs: 1) == RelayWindow.Step(delete: [3]))
    }

    @Test("a stop gives back what waits and sends nothing more")
    func stop() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        _ = window.admit([row(1, "a"), row(2, "a"), row(3, "b")], leaseEndsMs: 100, nowMs: 0)
        #expect(window.stop() == RelayWindow.Step(release: [2]))
        #expect(window.held == 2)
        #expect(window.admit([row(9, "z")], leaseEndsMs: 100, nowMs: 0) == RelayWindow.Step(release: [9]))
        #expect(window.finish(1, .acknowledged, nowMs: 1) == RelayWindow.Step(delete: [1]))
    }

    @Test("a row whose lease ended is known again: in flight, done, and deleted while a claim was under way")
    func knownAgain() {
        var window = RelayWindow(sendReserveMs: 10, partitions: .byTopic)
        _ = window.admit([row(1, "a"), row(2, "b")], leaseEndsMs: 100, nowMs: 0)
        _ = window.finish(1, .acknowledged, nowMs: 1)
        #expect(window.admit([row(1, "a"), row(2, "b")], leaseEndsMs: 200, nowMs: 100) == RelayWindow.Step())
        // A claim that the store has answered and we have not heard; then the deletion is heard of first.
        window.claimBegins()
        window.areDeleted([1])
        #expect(window.admit([row(1, "a")], leaseEndsMs: 200, nowMs: 100) == RelayWindow.Step())
        window.claimEnds()
        #expect(window.admit([row(1, "a")], leaseEndsMs: 200, nowMs: 100).send.map(\.id) == [1], "forgotten by then")
        #expect(window.held == 2)
    }

    @Test(
        "errors are refusals only when the record itself is to blame",
        arguments: [
            ("_MSG_TIMED_OUT", 10, false, RelayFate.failed), ("_TRANSPORT", 10, false, .failed),
            ("_CLOSED", 10, false, .failed), ("_FATAL", 10, false, .failed),
            ("UNKNOWN_TOPIC_OR_PART", 10, false, .failed), ("TOPIC_AUTHORIZATION_FAILED", 10, false, .failed),
            ("MSG_SIZE_TOO_LARGE", 100, false, .failed), ("MSG_SIZE_TOO_LARGE", 100_000, false, .refused),
            ("MSG_SIZE_TOO_LARGE", 100_000, true, .abandoned), ("INVALID_RECORD", 10, false, .refused),
            ("INVALID_RECORD", 10, true, .abandoned), ("_MSG_TIMED_OUT", 10, true, .failed),
        ])
    func fates(code: String, bytes: Int, isDeadLetter: Bool, fate: RelayFate) {
        let record = ProducerRecord(topic: "t", key: [], value: Array(repeating: 0, count: bytes))
        #expect(RelayFate(KafkaError(code: code, reason: ""), of: record, isDeadLetter: isDeadLetter) == fate)
    }
}

extension RelayPartitions {
    static var byTopic: RelayPartitions { RelayPartitions { topic, _ in OutboxPartition(topic, 0) } }
}
