import ChallengeModel
import Dispatch
import Logging
import ServiceSupport
import Synchronization
import Testing

@testable import Challenges
@testable import Producer
@testable import Storage

@Suite("A store that cannot write", .timeLimit(.minutes(5)))
struct StoreFaultTests {
    /// Another process's write transaction: a store of its own on the same file, whose writer stands still.
    private func whileLocked(_ path: String, keys: StoreKeys, _ body: () async throws -> Void) async throws {
        let other = try ChallengeStore.sqlite(path: path, keys: keys, logger: ProducerHarness.logger)
        let sqlite = try #require(other.engine as? SQLiteEngine)
        let gate = DispatchSemaphore(value: 0)
        let (holds, held) = AsyncStream<Void>.makeStream()
        async let holder: Void = sqlite.writeRows { _ in
            held.finish()
            gate.wait()
        }
        for await _ in holds {}
        do { try await body() } catch {
            gate.signal()
            try await holder
            await other.close()
            throw error
        }
        gate.signal()
        try await holder
        await other.close()
    }

    @Test(
        "while another process holds the lock: changes answer 503 with Retry-After, reads go on, and readiness says why"
    )
    func locked() async throws {
        try await ProducerHarness.run(limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let made = try await producer.createChallenge(service, "user-0001")
            #expect(made.status == 201)
            let path = "\(phone.challengesPath)/\(try made.text("sid"))"
            try await becomesTrue("ready") { producer.readiness.isReady }
            try await whileLocked(producer.storePath, keys: producer.storeKeys) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            let refused = try await producer.createChallenge(service, "user-0001")
                            #expect(refused.status == 503 && refused.header("Retry-After") == "1")
                            #expect(try refused.code() == 20503)
                        }
                    }
                    try await group.waitForAll()
                }
                let found = try await producer.get(path, as: producer.backend)
                #expect(found.status == 200)
                // A device's read would note a receipt and the day of its last request: it does not wait for them.
                let polled = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
                #expect(polled.status == 200)
                try await becomesTrue("unready") {
                    producer.readiness.reasons[StoreWatch.readinessCheck]?.contains("another process") == true
                }
                try await becomesTrue("the metric") {
                    producer.metrics.measured(.storeFault, [("cause", "locked")]) == 1
                }
            }
            try await becomesTrue("ready again") { producer.readiness.isReady }
            #expect(try await producer.createChallenge(service, "user-0001").status == 201)
            // The read that was answered without its receipt gives it the next time.
            #expect(try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs)).status == 200)
        }
    }

    @Test(
        "a full disk: changes answer 503, reads go on, readiness fails until there is room, and a minute has one line")
    func diskFull() async throws {
        let lines = LineCount()
        let logger = Logger(label: "t") { _ in lines }
        try await ProducerHarness.run(limits: .none, logger: logger) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            try await becomesTrue("ready") { producer.readiness.isReady }
            let sqlite = try #require(producer.store.engine as? SQLiteEngine)
            // SQLite's own bound on the file stands in for the disk's: the same error from the same place.
            func bound(pages: String) async throws {
                try await sqlite.writeRows { database in
                    let used = try database.integer("PRAGMA page_count")
                    _ = try database.integer("PRAGMA max_page_count = \(pages == "used" ? String(used) : pages)")
                }
            }
            try await bound(pages: "used")
            var acknowledged: [String] = []
            var refused = 0
            for _ in 0..<400 where refused < 20 {
                let answer = try await producer.createChallenge(service, "user-0001")
                guard answer.status == 503 else {
                    acknowledged.append(try answer.text("sid"))
                    continue
                }
                refused += 1
                #expect(answer.header("Retry-After") == "5")
            }
            #expect(refused == 20)
            try await becomesTrue("unready") {
                producer.readiness.reasons[StoreWatch.readinessCheck]?.contains("the disk is full") == true
            }
            #expect(try await producer.get(phone.challengesPath, as: producer.backend).status == 200)
            try await bound(pages: "1000000000")
            try await becomesTrue("ready again") { producer.readiness.isReady }
            #expect(try await producer.createChallenge(service, "user-0001").status == 201)
            for sid in acknowledged {
                #expect(try await producer.get("\(phone.challengesPath)/\(sid)", as: producer.backend).status == 200)
            }
            #expect(lines.count(of: "the store cannot write") == 1)
            #expect(lines.count(of: "store failed") == 0)
        }
    }

    @Test("a line per cause and span, and the next tells how many were left unsaid")
    func limitedLog() {
        let lines = LineCount()
        let log = LimitedLog(Logger(label: "t") { _ in lines }, every: .seconds(60))
        let start = ContinuousClock.now
        for second in 0..<120 {
            for cause in ["disk-full", "locked"] {
                log.log(
                    .error, "cannot write: \(cause)", metadata: [:], cause: cause, now: start + .seconds(second))
            }
        }
        #expect(lines.count(of: "disk-full") == 2 && lines.count(of: "locked") == 2)
        // Causes that a stranger makes up have one line between them.
        for number in 0..<1000 {
            log.log(.error, "stranger", metadata: [:], cause: "\(number)", now: start + .seconds(200))
        }
        #expect(lines.count(of: "stranger") <= 64)
    }
}

/// Counts the lines that a logger wrote.
final class LineCount: LogHandler, Sendable {
    private let lines = Mutex<[String]>([])

    func count(of text: String) -> Int { lines.withLock { $0.count { $0.contains(text) } } }

    func log(event: LogEvent) {
        guard event.level > .debug else { return }
        lines.withLock { $0.append("\(event.message)") }
    }

    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
}
