import ChallengeModel
import Challenges
import Foundation
import Storage
import Testing
import Wire

@testable import Producer

@Suite("Limits against push bombing", .timeLimit(.minutes(10)))
struct LimitTests {
    @Test("over a limit: 429 with Retry-After and RateLimit headers, the fall-backs, and an event")
    func refusals() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer, [("Push.Fallback", "sms")])
            _ = try await producer.drainOutbox()
            for left in (10..<20).reversed() {
                let created = try await scene.create()
                #expect(created.status == 201)
                #expect(created.header("RateLimit-Limit") == "20")
                #expect(created.header("RateLimit-Remaining") == "\(left)")
                #expect(created.header("RateLimit-Reset") == "\((20 - left) * 15)")
            }
            let pending = try await scene.create()
            #expect(pending.status == 429)
            #expect(try pending.code() == 20429)
            #expect(try pending.text("message").contains("pending; fall back to sms"), "\(pending.text)")
            #expect(Int(pending.header("Retry-After") ?? "").map { (290...301).contains($0) } == true)
            let rows = try await producer.drainOutbox()
            #expect(try rows.events.filter { $0 == "limit.reached" }.count == 1)
            #expect(try rows.pushes.count == 10)
            // Ended one by one, so that the burst is the limit that is reached.
            for index in 0..<10 {
                let list = try await producer.get(
                    "\(scene.phone.challengesPath)?Status=pending&PageSize=1", as: producer.backend)
                let oldest = try #require(try list.items("challenges").first?["sid"]?.stringValue)
                #expect(try await scene.cancel(oldest).status == 200)
                #expect(try await scene.create().status == 201, "\(index)")
            }
            let list = try await producer.get(
                "\(scene.phone.challengesPath)?Status=pending&PageSize=1", as: producer.backend)
            _ = try await scene.cancel(try #require(try list.items("challenges").first?["sid"]?.stringValue))
            let spent = try await scene.create()
            #expect(spent.status == 429)
            #expect(spent.header("Retry-After") == "15" && spent.header("RateLimit-Remaining") == "0")
            #expect(spent.header("RateLimit-Limit") == "20" && spent.header("RateLimit-Reset") == "300")
            #expect(try spent.text("message").contains("sms"))
            producer.clock.advance(.seconds(15))
            #expect(try await scene.create().status == 201)
            // Somebody else's is not touched.
            _ = try await producer.enroll("user-0002", service: scene.service)
            #expect(try await producer.createChallenge(scene.service, "user-0002").status == 201)
        }
    }

    @Test("how much of each limit is used and until when, without counting the question")
    func standings() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            let path = scene.phone.challengesPath.replacingOccurrences(of: "/Challenges", with: "/Limits")
            func limits() async throws -> [String: JSONValue] {
                let answer = try await producer.get(path, as: producer.backend)
                #expect(answer.status == 200, "\(answer.text)")
                #expect(try answer.text("identity") == PolicyScene.identity)
                return Dictionary(
                    uniqueKeysWithValues: try answer.items("limits").map { limit in
                        let owner = limit["factor_sid"]?.stringValue == nil ? "" : " of the device"
                        return ((limit["limit"]?.stringValue ?? "") + owner, limit)
                    })
            }
            func until(_ limit: JSONValue?, _ name: String) -> Int64? {
                limit?[name]?.stringValue.flatMap { Timestamp.epochMs($0) }.map { ($0 - producer.clock.nowMs) / 1000 }
            }
            let fresh = try await limits()
            #expect(Set(fresh.keys) == ["creations", "pending", "denials", "numbers"])
            for (name, limit) in fresh {
                #expect(limit["used"] == .integer(0) && limit["reset"] == .null, "\(name)")
                #expect(limit["blocked_until"] == .null, "\(name)")
            }
            let created = try await scene.create([("NumberMatching", "true")])
            let sid = try created.text("sid")
            let number = try #require(try created.json()["beckon"]?["number_matching"]?["number"]?.stringValue)
            _ = try await scene.answer(sid, "approved", [("Number", number == "00" ? "01" : "00")])
            for _ in 0..<2 {
                let used = try await limits()
                #expect(used["creations"]?["used"] == .integer(1) && used["creations"]?["maximum"] == .integer(20))
                #expect(until(used["creations"], "reset").map { (13...15).contains($0) } == true)
                #expect(used["pending"]?["used"] == .integer(1))
                #expect(used["numbers"]?["used"] == .integer(1) && used["numbers"]?["maximum"] == .integer(12))
                let device = try #require(used["numbers of the device"])
                #expect(device["factor_sid"] == .string(scene.phone.factor) && device["maximum"] == .integer(6))
            }
            for _ in 0..<3 {
                #expect(try await scene.answer(try await scene.create().text("sid"), "denied").status == 200)
            }
            let quiet = try await limits()
            #expect(quiet["denials"]?["used"] == .integer(3))
            #expect(until(quiet["denials"], "blocked_until").map { (895...900).contains($0) } == true)
            for _ in 0..<9 { _ = try await scene.create() }
            let full = try await limits()
            #expect(full["pending"]?["used"] == .integer(10))
            #expect(until(full["pending"], "blocked_until").map { (290...301).contains($0) } == true)
            producer.clock.advance(.seconds(3600))
            let later = try await limits()
            #expect(later["creations"]?["used"] == .integer(0) && later["pending"]?["used"] == .integer(0))
            #expect(later["denials"]?["used"] == .integer(0) && later["denials"]?["blocked_until"] == .null)
            let stranger = path.replacingOccurrences(of: PolicyScene.identity, with: "user-9999")
            #expect(try await producer.get(stranger, as: producer.backend).status == 404)
        }
    }

    @Test("3 denials: nothing is pushed for 15 minutes, the reply and an event name the fall-backs, polling finds it")
    func quiet() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            for _ in 0..<3 {
                #expect(try await scene.answer(try await scene.create().text("sid"), "denied").status == 200)
            }
            _ = try await producer.drainOutbox()
            let quiet = try await scene.create([("FactorSid", scene.phone.factor), ("Fallback", "totp")])
            #expect(quiet.status == 201)
            let beckon = try #require(try quiet.json()["beckon"])
            #expect(beckon["fallbacks"] == .array([.string("totp")]))
            let until = try #require(Timestamp.epochMs(beckon["quiet_until"]?.stringValue ?? ""))
            #expect(abs(until - producer.clock.nowMs - 900_000) < 5000)
            let rows = try await producer.drainOutbox()
            #expect(try rows.pushes.isEmpty)
            #expect(try rows.events == ["challenge.created", "limit.reached"])
            let event = try #require(
                try rows.filter { $0.topic == .events }.map { try CloudEvent(json: $0.value) }.last)
            #expect(event.data["fallbacks"] == .list(["totp"]) && event.data["limit"] == "quiet")
            #expect(event.data["challenge_sid"] == .string(try quiet.text("sid")))
            let resend = try await producer.post(
                "\(scene.phone.challengesPath)/\(try quiet.text("sid"))/Notifications", as: producer.backend)
            #expect(try resend.status == 429 && resend.code() == 20429)
            #expect(Int(resend.header("Retry-After") ?? "") ?? 0 > 800)
            #expect(resend.header("RateLimit-Limit") == "3" && resend.header("RateLimit-Remaining") == "0")
            #expect(resend.header("RateLimit-Reset") == resend.header("Retry-After"))
            #expect(try await producer.drainOutbox().events == ["limit.reached"])
            let polled = try await producer.get(
                "\(scene.phone.challengesPath)?Status=pending", as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(try polled.items("challenges").map { $0["sid"] } == [.string(try quiet.text("sid"))])
            #expect(try await scene.answer(try quiet.text("sid")).text("status") == "approved")
            producer.clock.advance(.seconds(901))
            #expect(try await scene.create().status == 201)
            #expect(try await producer.drainOutbox().pushes.count == 1)
        }
    }

    @Test("limits hold across stores over one file: 40 creations at once through two of them, 20 are taken")
    func twoProducers() async throws {
        var limits = ChallengeLimits()
        limits.pending = 0
        let kept = limits
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: kept) { producer in
            let scene = try await PolicyScene(producer)
            let second = try ChallengeStore.sqlite(
                path: producer.storePath, keys: producer.storeKeys, limits: kept, logger: ProducerHarness.logger)
            let (service, now) = (try scene.serviceSID, producer.clock.nowMs)
            let taken = try await withThrowingTaskGroup(of: Bool.self) { group in
                for index in 0..<40 {
                    let store: ChallengeStore = index % 2 == 0 ? producer.store : second
                    group.addTask {
                        do {
                            _ = try await store.create(
                                NewChallenge(
                                    account: producer.account.sid, service: service, identity: PolicyScene.identity,
                                    factor: nil, message: "Log in?", expiresAtMs: now + 300_000), nowMs: now)
                            return true
                        } catch StoreError.limited { return false }
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(taken == 20)
            await second.close()
        }
    }
}
