import AsyncHTTPClient
import ChallengeModel
import Challenges
import Foundation
import Storage
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Long polls", .timeLimit(.minutes(10)))
struct LongPollTests {
    private struct Scene {
        let producer: ProducerHarness
        let phone: TestDevice
        let created: HTTPAnswer
        let path: String

        init(_ producer: ProducerHarness) async throws {
            self.producer = producer
            let service = try await producer.makeService()
            phone = try await producer.enroll("user-0001", service: service)
            created = try await producer.createChallenge(service, "user-0001")
            path = "\(phone.challengesPath)/\(try created.text("sid"))"
        }

        func get(
            _ query: String, _ tag: String?, as authorization: Authorization? = nil, client: HTTPClient = .shared
        ) async throws -> HTTPAnswer {
            try await producer.send(
                "GET", path + query, as: authorization ?? producer.backend,
                headers: tag.map { [("If-None-Match", $0)] } ?? [], client: client)
        }

        func tag(as authorization: Authorization? = nil) async throws -> String {
            let answer = try await get("?Wait=0", nil, as: authorization)
            #expect(answer.status == 200)
            return try #require(answer.header("ETag"))
        }

        func answer() async throws -> HTTPAnswer {
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            return try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "approved"))],
                as: phone.token(nowMs: producer.clock.nowMs))
        }
    }

    @Test("a client that does not ask gets no tag; one that knows the reply gets 304, at once or after its time")
    func tags() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let plain = try await producer.get(scene.path, as: producer.backend)
            #expect(plain.header("ETag") == nil && plain.status == 200)
            let tag = try await scene.tag()
            for known in [tag, "W/\(tag)", "\"other\", \(tag)", "*"] {
                let answer = try await scene.get("", known)
                #expect(answer.status == 304, "\(known)")
                #expect(answer.bytes.isEmpty && answer.header("ETag") == tag)
            }
            let other = try await scene.get("?Wait=30", "\"other\"")
            #expect(other.status == 200)
            let late = try await scene.get("?Wait=1", tag)
            #expect(late.status == 304)
            // A device reads another text: its own factor, nothing for backends. Its reading is a receipt, which
            // changes what backends read.
            let own = try scene.phone.token(nowMs: producer.clock.nowMs)
            #expect(try await scene.get("", tag, as: own).status == 200)
            for bad in ["31", "-1", "x", ""] {
                let answer = try await scene.get("?Wait=\(bad)", tag)
                #expect(answer.status == 400, "\(bad)")
                #expect(answer.text.contains("Wait"))
            }
            #expect(try await scene.get("?Wiat=5", tag).header("Beckon-Ignored") == "Wiat")
            #expect(try await producer.get("\(scene.path)?Wait=5").status == 401)
            let another = scene.path.dropLast() + (scene.path.hasSuffix("0") ? "1" : "0")
            #expect(try await producer.get("\(another)?Wait=5", as: producer.backend).status == 404)
        }
    }

    @Test("backend and device are woken by an answer, the backend by what Kafka says too, both by the expiry")
    func woken() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let device = try scene.phone.token(nowMs: producer.clock.nowMs)
            let (tag, own) = (try await scene.tag(), try await scene.tag(as: device))
            async let undelivered = scene.get("?Wait=30", tag)
            try await OutcomeWriter.with(producer) {
                try await $0.escalation(scene.created, scene.phone.factor, afterMs: 1)
            }
            let told = try await undelivered
            #expect(told.status == 200)
            #expect(try told.json()["beckon"]?["delivery"]?.stringValue != "waiting")
            let fresh = try #require(told.header("ETag"))
            async let byBackend = scene.get("?Wait=30", fresh)
            async let byDevice = scene.get("?Wait=30", own, as: device)
            #expect(try await scene.answer().status == 200)
            #expect(try await byDevice.text("status") == "approved")
            #expect(try await byBackend.status == 200)

            let service = scene.phone.challengesPath.components(separatedBy: "/Entities")[0]
            let soon = Timestamp.rfc3339Seconds(producer.clock.nowMs + 2000)
            let created = try await producer.createChallenge(service, "user-0001", [("ExpirationDate", soon)])
            let path = "\(scene.phone.challengesPath)/\(try created.text("sid"))"
            let read = try await producer.get("\(path)?Wait=0", as: producer.backend)
            let known = try #require(read.header("ETag"))
            // The clock of the test goes on while the request waits.
            async let expired = producer.send(
                "GET", "\(path)?Wait=30", as: producer.backend, headers: [("If-None-Match", known)])
            producer.clock.advance(.seconds(4))
            #expect(try await expired.text("status") == "expired")
        }
    }

    @Test("who waits is answered at the expiry and not before, also while nobody has written it")
    func expiry() async throws {
        try await ProducerHarness.run(limits: .none, adjust: { $0.sweepInterval = .seconds(600) }) { producer in
            let scene = try await Scene(producer)
            let service = scene.phone.challengesPath.components(separatedBy: "/Entities")[0]
            var delays: [Duration] = []
            for _ in 0..<(Speed.isMeasured ? 4 : 1) {
                let expiresAtMs = (producer.clock.nowMs + 1999) / 1000 * 1000
                let life = Duration.milliseconds(expiresAtMs - producer.clock.nowMs)
                let created = try await producer.createChallenge(
                    service, "user-0001", [("ExpirationDate", Timestamp.rfc3339Seconds(expiresAtMs))])
                let path = "\(scene.phone.challengesPath)/\(try created.text("sid"))"
                let tag = try await producer.get("\(path)?Wait=0", as: producer.backend).header("ETag")
                let known = try #require(tag)
                try await becomesTrue("nobody waits") { producer.metrics.gauge(.longPolls) == 0 }
                let start = ContinuousClock.now
                async let waiting = producer.send(
                    "GET", "\(path)?Wait=30", as: producer.backend, headers: [("If-None-Match", known)])
                try await becomesTrue("it waits") { producer.metrics.gauge(.longPolls) == 1 }
                // By then it has reckoned when it wakes.
                producer.clock.advance(.seconds(2))
                let expired = try await waiting
                delays.append(ContinuousClock.now - start - life)
                #expect(try expired.text("status") == "expired")
            }
            #expect(delays.allSatisfy { $0 > .zero }, "\(delays)")
            let quickest = delays.min()?.inMilliseconds ?? .infinity
            Speed.expect("long-poll-after-expiry", ["quickest_ms": quickest], quickest < 100)
        }
    }

    @Test("who is woken a second time reads anew, also while somebody else waits on")
    func twice() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let service = scene.phone.challengesPath.components(separatedBy: "/Entities")[0]
            let quiet = try await producer.createChallenge(service, "user-0001")
            let path = "\(scene.phone.challengesPath)/\(try quiet.text("sid"))"
            let known = try #require(try await producer.get("\(path)?Wait=0", as: producer.backend).header("ETag"))
            let bystander = Task {
                _ = try? await producer.send(
                    "GET", "\(path)?Wait=30", as: producer.backend, headers: [("If-None-Match", known)])
            }
            let tag = try await scene.tag()
            async let first = scene.get("?Wait=30", tag)
            try await becomesTrue("two wait") { producer.metrics.gauge(.longPolls) == 2 }
            try await OutcomeWriter.with(producer) {
                try await $0.escalation(scene.created, scene.phone.factor, afterMs: 1)
            }
            let undelivered = try await first
            #expect(undelivered.status == 200)
            let fresh = try #require(undelivered.header("ETag"))
            try await becomesTrue("the other waits on") { producer.metrics.gauge(.longPolls) == 1 }
            async let second = scene.get("?Wait=30", fresh)
            try await becomesTrue("two wait again") { producer.metrics.gauge(.longPolls) == 2 }
            #expect(try await scene.answer().status == 200)
            let answered = try await second
            #expect(answered.status == 200)
            // The device reads the challenge before it answers, and that is a change too: it has been received.
            var last = answered
            for _ in 0..<3 where try last.text("status") == "pending" {
                last = try await scene.get("?Wait=30", last.header("ETag"))
            }
            #expect(try last.text("status") == "approved")
            bystander.cancel()
            await bystander.value
        }
    }

    @Test("a change by another process on the same store wakes; a deleted device is told to go")
    func elsewhere() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let device = try scene.phone.token(nowMs: producer.clock.nowMs)
            let own = try await scene.tag(as: device)
            let tag = try await scene.tag()
            let other = try ChallengeStore.sqlite(
                path: producer.storePath, keys: producer.storeKeys, logger: ProducerHarness.logger)
            async let byBackend = scene.get("?Wait=30", tag)
            async let byDevice = scene.get("?Wait=30", own, as: device)
            let answer = Answer(
                challenge: try #require(ChallengeSID(try scene.created.text("sid"))),
                factor: try #require(FactorSID(scene.phone.factor)), isApproval: false, signedAnswer: "jwt")
            _ = try await other.answer(answer, nowMs: producer.clock.nowMs)
            // Deleting changes nothing that is read; what wakes is the answer, and then the device is nobody's.
            _ = try await other.deleteFactor(answer.factor, nowMs: producer.clock.nowMs)
            #expect([200, 401].contains(try await byDevice.status))
            #expect(try await byBackend.status == 200)
            await other.close()
            #expect(try await scene.get("?Wait=30", own, as: device).status == 401)
        }
    }

    @Test("over the bound a request is answered at once; with none allowed all are")
    func bound() async throws {
        try await ProducerHarness.run(adjust: { $0.maxLongPolls = 0 }) { producer in
            let scene = try await Scene(producer)
            let answer = try await scene.get("?Wait=30", try await scene.tag())
            #expect(answer.status == 304)
            #expect(producer.metrics.count(.longPollsRefused, []) == 1, "it did not wait")
        }
    }

    @Test("a device holds four places at most: one more is answered at once, and a place that is left is free")
    func perDevice() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let device = try scene.phone.token(nowMs: producer.clock.nowMs)
            let own = try await scene.tag(as: device)
            let waiting = Task {
                await withTaskGroup(of: Int?.self) { group in
                    for _ in 0..<4 {
                        group.addTask { try? await scene.get("?Wait=30", own, as: device).status }
                    }
                    return await group.reduce(into: [Int?]()) { $0.append($1) }
                }
            }
            try await becomesTrue("four wait") { producer.metrics.gauge(.longPolls) == 4 }
            #expect(try await scene.get("?Wait=30", own, as: device).status == 304)
            #expect(producer.metrics.count(.longPollsRefused, []) == 1)
            // Whoever else is not in their way.
            async let backend = scene.get("?Wait=30", try await scene.tag())
            try await becomesTrue("five wait") { producer.metrics.gauge(.longPolls) == 5 }
            #expect(try await scene.answer().status == 200)
            #expect(await waiting.value == [200, 200, 200, 200])
            #expect(try await backend.status == 200)
        }
    }

    @Test("one API key holds half of the places at most; another key and a device find theirs")
    func perKey() async throws {
        try await ProducerHarness.run(adjust: { $0.maxLongPolls = 8 }) { producer in
            let scene = try await Scene(producer)
            let tag = try await scene.tag()
            let (key, secret) = try await producer.store.createKey(
                account: producer.account.sid, role: .read, friendlyName: "other", nowMs: producer.clock.nowMs)
            let other = Authorization.basic(key.sid.rawValue, secret)
            let otherTag = try await scene.tag(as: other)
            let waiting = Task {
                await withTaskGroup(of: Int?.self) { group in
                    for _ in 0..<4 { group.addTask { try? await scene.get("?Wait=30", tag).status } }
                    return await group.reduce(into: [Int?]()) { $0.append($1) }
                }
            }
            try await becomesTrue("four wait") { producer.metrics.gauge(.longPolls) == 4 }
            #expect(try await scene.get("?Wait=30", tag).status == 304, "the key has its half")
            #expect(producer.metrics.count(.longPollsRefused, []) == 1)
            async let waits = scene.get("?Wait=30", otherTag, as: other)
            try await becomesTrue("another key waits") { producer.metrics.gauge(.longPolls) == 5 }
            #expect(try await scene.answer().status == 200)
            #expect(await waiting.value == [200, 200, 200, 200])
            #expect(try await waits.status == 200)
        }
    }

    @Test("a thousand wait; each is answered after the change, and none is left when clients vanish")
    func thousand() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let tag = try await scene.tag()
            var configuration = HTTPClient.Configuration()
            configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 1100
            let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
            let before = residentKB()
            do {
                // Some who go away.
                let gone = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
                let vanishing = Task {
                    await withDiscardingTaskGroup { group in
                        for _ in 0..<100 {
                            group.addTask { _ = try? await scene.get("?Wait=30", tag, client: gone) }
                        }
                    }
                }
                try await becomesTrue("100 wait") { producer.metrics.gauge(.longPolls) >= 100 }
                vanishing.cancel()
                await vanishing.value
                try await gone.shutdown()
                try await becomesTrue("those who hung up are forgotten") { producer.metrics.gauge(.longPolls) == 0 }

                let changed = Shared<ContinuousClock.Instant?>(nil)
                let delays = try await withThrowingTaskGroup(of: Duration.self) { group in
                    for _ in 0..<1000 {
                        group.addTask {
                            var answer = try await scene.get("?Wait=30", tag, client: client)
                            // Where it takes longer than a wait until all of them are there, they ask again.
                            while answer.status == 304, changed.value == nil {
                                answer = try await scene.get("?Wait=30", tag, client: client)
                            }
                            let now = ContinuousClock.now
                            #expect(answer.status == 200)
                            return now - (try #require(changed.value, "answered before the change"))
                        }
                    }
                    try await becomesTrue(within: .seconds(180), "1,000 wait") {
                        producer.metrics.gauge(.longPolls) >= 1000
                    }
                    let sid = try #require(ChallengeSID(try scene.created.text("sid")))
                    let factor = try #require(FactorSID(scene.phone.factor))
                    let answer = Answer(challenge: sid, factor: factor, isApproval: true, signedAnswer: "jwt")
                    changed.value = .now
                    _ = try await producer.store.answer(answer, nowMs: producer.clock.nowMs)
                    return try await group.reduce(into: [Duration]()) { $0.append($1) }.sorted()
                }
                let grown = residentKB() - before
                print(
                    "1,000 long polls: median \(delays[500]), p99 \(delays[989]), last \(delays[999]); "
                        + "client and server together grew by \(grown) KB")
                #expect(delays.count == 1000)
                // From before the answer. Server and client share this process; Benchmarks/long-polls takes them apart.
                Speed.expect(
                    "thousand-long-polls",
                    ["p50_ms": delays[500].inMilliseconds, "last_ms": delays[999].inMilliseconds],
                    delays[500] < .milliseconds(1500))
                #expect(grown < 300_000)
                try await becomesTrue("nobody waits") { producer.metrics.gauge(.longPolls) == 0 }
            } catch {
                try? await client.shutdown()
                throw error
            }
            try await client.shutdown()
        }
    }

    /// A value that several tasks see.
    private final class Shared<Value: Sendable>: Sendable {
        private let mutex: Mutex<Value>
        init(_ value: Value) { mutex = Mutex(value) }
        var value: Value {
            get { mutex.withLock { $0 } }
            set { mutex.withLock { $0 = newValue } }
        }
    }

    private func residentKB() -> Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }

    @Test("an orderly stop answers those who wait")
    func stop() async throws {
        let answered = Shared(0)
        let stopping = Shared<ContinuousClock.Instant?>(nil)
        try await ProducerHarness.run { producer in
            let scene = try await Scene(producer)
            let tag = try await scene.tag()
            let waiting = Task {
                if let answer = try? await scene.get("?Wait=30", tag) { answered.value = answer.status }
            }
            try await becomesTrue("it waits") { producer.metrics.gauge(.longPolls) == 1 }
            _ = waiting
            stopping.value = .now
        }
        let stop = ContinuousClock.now - (try #require(stopping.value))
        #expect(stop < .seconds(29), "the stop did not wait for the 30 s of its wait")
        try await becomesTrue("answered") { answered.value == 304 }
    }
}
