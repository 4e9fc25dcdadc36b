import KafkaClient
import Logging
import Testing

@testable import KafkaGroup

@Suite("Who may still act on its partitions", .timeLimit(.minutes(5)))
struct CommitFenceTests {
    let fence = CommitFence(freshFor: .milliseconds(1500)) { 5000 }
    static let eviction = KafkaError(code: "ILLEGAL_GENERATION", reason: "another generation")
    static let busy = KafkaError(code: "REBALANCE_IN_PROGRESS", reason: "a rebalance")

    private func complaint(_ atMs: Int64) -> String? { fence.complaint(atMs: atMs, consequence: "pushes are held") }

    @Test("the fence is closed before the first commit, and when the last was sent too long ago")
    func age() {
        #expect(!fence.isOpen(atMs: 0) && fence.ageMs(atMs: 0) == nil && complaint(0) == nil)
        #expect(fence.acknowledge(sentAtMs: 1000, term: fence.term, nowMs: 1100))
        #expect(fence.isOpen(atMs: 2500) && fence.ageMs(atMs: 2500) == 1500 && complaint(2500) == nil)
        #expect(!fence.isOpen(atMs: 2501))
        #expect(complaint(2501) == "the group's coordinator has acknowledged no commit for 1 s; pushes are held")
        #expect(fence.acknowledge(sentAtMs: 2600, term: fence.term, nowMs: 2700))
        fence.shut()
        #expect(!fence.isOpen(atMs: 2600) && fence.ageMs(atMs: 2600) == nil && complaint(2600) == nil)
    }

    @Test(
        "a late answer counts from when its commit was sent, one of a former assignment does not, and a later one stays"
    )
    func lateAnswers() {
        let former = fence.term
        fence.shut()
        #expect(!fence.acknowledge(sentAtMs: 1000, term: former, nowMs: 1100))
        #expect(!fence.isOpen(atMs: 1100))
        #expect(fence.acknowledge(sentAtMs: 2000, term: fence.term, nowMs: 3400))
        #expect(fence.isOpen(atMs: 3500) && fence.isOpen(term: fence.term, atMs: 3500))
        #expect(!fence.isOpen(term: former, atMs: 3500))
        #expect(!fence.acknowledge(sentAtMs: 1500, term: fence.term, nowMs: 3500))
        #expect(fence.isOpen(atMs: 3500))
        #expect(!fence.isOpen(atMs: 3501))
    }

    @Test("excluded from the group, nothing goes on until the next assignment, whatever is acknowledged late")
    func eviction() {
        fence.acknowledge(sentAtMs: 1000, term: fence.term, nowMs: 1000)
        fence.refuse(Self.eviction, term: fence.term)
        #expect(!fence.isOpen(atMs: 1000))
        #expect(
            complaint(1000)
                == "the group has excluded this member; pushes are held (ILLEGAL_GENERATION: another generation)")
        #expect(!fence.acknowledge(sentAtMs: 1100, term: fence.term, nowMs: 1100))
        #expect(!fence.isOpen(atMs: 1100))
        fence.shut()
        fence.refuse(Self.eviction, term: fence.term - 1)
        #expect(fence.acknowledge(sentAtMs: 1200, term: fence.term, nowMs: 1200))
        #expect(fence.isOpen(atMs: 1200))
    }

    @Test("any other refusal leaves the fence as it is, and is told once the fence is closed")
    func refusal() {
        fence.refuse(Self.busy, term: fence.term)
        #expect(complaint(0) == "no commit is acknowledged; pushes are held (REBALANCE_IN_PROGRESS: a rebalance)")
        fence.acknowledge(sentAtMs: 1000, term: fence.term, nowMs: 1000)
        fence.refuse(Self.busy, term: fence.term)
        #expect(fence.isOpen(atMs: 2500) && complaint(2500) == nil)
        #expect(
            complaint(3001)?.hasSuffix("no commit for 2 s; pushes are held (REBALANCE_IN_PROGRESS: a rebalance)")
                == true)
        fence.acknowledge(sentAtMs: 1600, term: fence.term, nowMs: 3000)
        #expect(complaint(9000)?.hasSuffix("pushes are held") == true)
    }

    @Test("a commit that no broker answers is refused, and opens nothing")
    func noBroker() async throws {
        let consumer = try KafkaConsumer(
            configuration: KafkaConfiguration(bootstrapServers: "127.0.0.1:1", isEmbedded: true), groupID: "g",
            topics: ["t"], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let offsets = [TopicPartition(topic: "t", partition: 0): CommittedOffset(offset: 1)]
        let answer = await fence.commit(offsets, by: consumer, term: fence.term, deadline: .milliseconds(1))
        guard case .refused(let error) = answer else {
            Issue.record("acknowledged by nobody")
            return
        }
        #expect(!error.isEviction && !fence.isOpen(atMs: 5000) && complaint(5000) != nil)
        await consumer.close(deadline: .seconds(1))
    }
}
