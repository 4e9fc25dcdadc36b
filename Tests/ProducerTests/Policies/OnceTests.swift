import AsyncHTTPClient
import ChallengeModel
import Challenges
import Foundation
import NIOCore
import Storage
import Testing
import Wire

@testable import Producer

@Suite("One challenge for one attempt", .timeLimit(.minutes(10)))
struct OnceTests {
    /// 50 creations at once from three clients.
    private static func race(
        _ scene: PolicyScene, form: [(String, String)] = [], headers: [(String, String)] = []
    ) async throws -> [HTTPAnswer] {
        let clients = (0..<3).map { _ in HTTPClient(eventLoopGroupProvider: .singleton) }
        let body = ([("Details.Message", "Log in?")] + form)
            .map { "\(Percent.encode($0.0))=\(Percent.encode($0.1))" }.joined(separator: "&")
        let answers = await Result {
            try await withThrowingTaskGroup(of: HTTPAnswer.self) { group in
                for index in 0..<50 {
                    group.addTask {
                        try await scene.producer.send(
                            "POST", scene.phone.challengesPath, body: body, as: scene.producer.backend,
                            headers: headers, client: clients[index % 3])
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
        }
        for client in clients { try await client.shutdown() }
        return try answers.get()
    }

    @Test("50 creations of one action from three clients: one challenge, one push")
    func actionRace() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            _ = try await producer.drainOutbox()
            let answers = try await Self.race(scene, form: [("ActionKey", "attempt-1")])
            #expect(answers.filter { $0.status == 201 }.count == 1)
            #expect(answers.filter { $0.status == 200 }.count == 49)
            let sids = Set(try answers.map { try $0.text("sid") })
            #expect(sids.count == 1)
            #expect(try await producer.drainOutbox().pushes == [try #require(sids.first): 1])
        }
    }

    @Test("50 creations under one idempotency key from three clients: one challenge, one push")
    func idempotencyRace() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            _ = try await producer.drainOutbox()
            let answers = try await Self.race(scene, headers: [("Idempotency-Key", "8e03978e-40d5")])
            #expect(answers.allSatisfy { $0.status == 201 })
            #expect(answers.filter { $0.header("Idempotency-Replayed") == "true" }.count == 49)
            #expect(answers.filter { $0.header("RateLimit-Remaining") != nil }.count == 1)
            let sids = Set(try answers.map { try $0.text("sid") })
            #expect(sids.count == 1)
            #expect(try await producer.drainOutbox().pushes == [try #require(sids.first): 1])
        }
    }

    @Test("50 creations of one action that ask different things: one is live in the end, the others read expired")
    func supersedeRace() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none) { producer in
            let scene = try await PolicyScene(producer)
            let answers = try await withThrowingTaskGroup(of: HTTPAnswer.self) { group in
                for index in 0..<50 {
                    group.addTask {
                        try await scene.create([
                            ("ActionKey", "attempt-1"),
                            ("Details.Fields", #"{"label":"n","value":"\#(index)"}"#),
                        ])
                    }
                }
                return try await group.reduce(into: [HTTPAnswer]()) { $0.append($1) }
            }
            #expect(answers.allSatisfy { $0.status == 201 })
            let list = try await producer.get(
                "\(scene.phone.challengesPath)?Status=pending", as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(try list.items("challenges").count == 1)
            let expired = try await producer.get(
                "\(scene.phone.challengesPath)?Status=expired&PageSize=100", as: producer.backend
            ).items("challenges")
            #expect(expired.count == 49)
            #expect(expired.allSatisfy { $0["responded_reason"] == .string("not_needed") })
        }
    }

    @Test(
        "an action: reused as it is, superseded before the phone shows it; the phone knows both by one id, not by the key"
    )
    func action() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            let first = try await scene.create([("ActionKey", "attempt-1")])
            #expect(first.status == 201)
            #expect(try first.json()["beckon"]?["action_key"] == .string("attempt-1"))
            let reused = try await scene.create([("ActionKey", "attempt-1")])
            #expect(reused.status == 200 && reused.header("RateLimit-Remaining") == nil)
            #expect(try reused.text("sid") == first.text("sid"))
            #expect(try reused.text("expiration_date") == first.text("expiration_date"))
            producer.clock.advance(.seconds(9))
            _ = try await producer.drainOutbox()
            _ = try await scene.create([("ActionKey", "attempt-1")])
            #expect(try await producer.drainOutbox().pushes == [try first.text("sid"): 1], "pushed again")
            let second = try await scene.create([("ActionKey", "attempt-1"), ("HiddenDetails", #"{"a":"b"}"#)])
            #expect(second.status == 201)
            let rows = try await producer.drainOutbox()
            #expect(try rows.events == ["challenge.superseded", "challenge.created"])
            #expect(try await scene.read(try first.text("sid")).text("status") == "expired")
            #expect(try await scene.read(try first.text("sid")).text("responded_reason") == "not_needed")
            let token = { try scene.phone.token(nowMs: producer.clock.nowMs) }
            let (old, new) = (
                try await scene.read(try first.text("sid"), as: token()),
                try await scene.read(try second.text("sid"), as: token())
            )
            let id = try #require(try new.json()["beckon"]?["action_id"]?.stringValue)
            #expect(try old.json()["beckon"]?["action_id"] == .string(id))
            #expect(!new.text.contains("attempt-1") && !old.text.contains("attempt-1"))
            #expect(try old.text("status") == "expired")
            let late = try await producer.post(
                "\(scene.phone.challengesPath)/\(try first.text("sid"))",
                [("AuthPayload", try scene.phone.answer(new, "approved"))], as: token())
            #expect(try late.status == 403 && late.code() == 60323)
            for bad in ["", String(repeating: "k", count: 129)] {
                let refused = try await scene.create([("ActionKey", bad)])
                #expect(try refused.status == 400 && refused.text("message").contains("ActionKey"))
            }
            #expect(try await scene.create([("ActionKey", String(repeating: "k", count: 128))]).status == 201)
            // Another service's actions are others.
            let other = try await PolicyScene(producer)
            #expect(try await other.create([("ActionKey", "attempt-1")]).status == 201)
        }
    }

    @Test("an action that asks for anything else, or has less than a quarter of its life left, is another challenge")
    func otherQuestions() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none) { producer in
            let scene = try await PolicyScene(producer)
            let plain = [("Details.Message", "Log in?"), ("ActionKey", "attempt-1")]
            func create(_ form: [(String, String)]) async throws -> HTTPAnswer {
                try await producer.post(scene.phone.challengesPath, form, as: producer.backend)
            }
            let others: [[(String, String)]] = [
                [("Details.Message", "Pay?"), ("ActionKey", "attempt-1")],
                plain + [("Details.Fields", #"{"label":"IP","value":"10.0.0.1"}"#)],
                plain + [("HiddenDetails", #"{"a":"b"}"#)], plain + [("FactorSid", scene.phone.factor)],
                plain + [("NumberMatching", "true")],
                plain + [("NumberMatching", "true"), ("NumberDigits", "3")], plain + [("RequireSession", "true")],
            ]
            for other in others {
                let first = try await create(plain)
                #expect(first.status == 201, "\(other)")
                #expect(try await create(plain).text("sid") == first.text("sid"))
                let second = try await create(other)
                #expect(second.status == 201, "\(other): \(second.text)")
                #expect(try second.text("sid") != first.text("sid"))
                let former = try await scene.read(try first.text("sid"))
                #expect(try former.text("status") == "expired" && former.text("responded_reason") == "not_needed")
                // The same again is the same.
                let again = try await create(other)
                #expect(try again.status == 200 && again.text("sid") == second.text("sid"), "\(other)")
            }
            // Of five minutes 75 s, of one minute 30 s; an expiry is in whole seconds.
            for (life, left) in [(300, 75), (60, 30)] {
                let date = Timestamp.rfc3339Seconds(producer.clock.nowMs + Int64(life) * 1000)
                let form = [("Details.Message", "Log in?"), ("ActionKey", "life-\(life)")]
                #expect(try await create(form + [("ExpirationDate", date)]).status == 201)
                func again() async throws -> HTTPAnswer { try await create(form) }
                producer.clock.advance(.seconds(life - left - 1))
                #expect(try await again().status == 200, "\(life)")
                producer.clock.advance(.seconds(2))
                #expect(try await again().status == 201, "\(life)")
            }
        }
    }

    @Test("what is no value of an extension is 400 and named")
    func values() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            for (name, value) in [
                ("NumberMatching", "maybe"), ("NumberMatching", ""), ("NumberDigits", "1"), ("NumberDigits", "7"),
                ("NumberDigits", "two"), ("RequireSession", "yes"), ("Fallback", "S M S"),
            ] {
                let refused = try await scene.create([(name, value)])
                #expect(try refused.status == 400 && refused.code() == 60200, "\(name)=\(value)")
                #expect(try refused.text("message").contains(name), "\(refused.text)")
            }
            let ways = (1...9).map { ("Fallback", "way-\($0)") }
            let refused = try await scene.create(ways)
            #expect(try refused.status == 400 && refused.text("message").contains("at most 8"), "\(refused.text)")
            let taken = try await scene.create(Array(ways.dropLast()))
            #expect(try taken.json()["beckon"]?["fallbacks"] == .array((1...8).map { .string("way-\($0)") }))
        }
    }

    @Test("one action, and one idempotency key, through two stores over one file: one challenge, one push")
    func twoStores() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none) { producer in
            let scene = try await PolicyScene(producer)
            let second = try ChallengeStore.sqlite(
                path: producer.storePath, keys: producer.storeKeys, limits: .none, logger: ProducerHarness.logger)
            let (service, now) = (try scene.serviceSID, producer.clock.nowMs)
            var byAction = NewChallenge(
                account: producer.account.sid, service: service, identity: PolicyScene.identity, factor: nil,
                message: "Log in?", expiresAtMs: now + 300_000)
            var byKey = byAction
            byAction.actionKey = "attempt-1"
            byKey.idempotency = IdempotencyKey(key: [1], request: [2])
            for (new, repeats) in [(byAction, ChallengeCreation.Outcome.reused), (byKey, .replayed)] {
                _ = try await producer.drainOutbox()
                let made = try await withThrowingTaskGroup(of: ChallengeCreation.self) { group in
                    for index in 0..<40 {
                        let store: ChallengeStore = index % 2 == 0 ? producer.store : second
                        group.addTask { try await store.create(new, nowMs: now) }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(made.count { $0.outcome == .created } == 1)
                #expect(made.count { $0.outcome == repeats } == 39)
                let sids = Set(made.map(\.challenge.sid.rawValue))
                #expect(try await producer.drainOutbox().pushes == [try #require(sids.first): 1] && sids.count == 1)
            }
            await second.close()
        }
    }

    @Test("an idempotency key: as it is now, 422 for other parameters, per path, for 24 hours; refusals are not kept")
    func idempotency() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let scene = try await PolicyScene(producer)
            let header = [("Idempotency-Key", "key-1")]
            let refused = try await scene.create([("ExpirationDate", "tomorrow")], headers: header)
            #expect(refused.status == 400)
            let first = try await scene.create([("Fallback", "sms"), ("Fallback", "totp")], headers: header)
            #expect(first.status == 201 && first.header("Idempotency-Replayed") == nil)
            _ = try await producer.drainOutbox()
            _ = try await scene.cancel(try first.text("sid"))
            let replayed = try await producer.post(
                scene.phone.challengesPath,
                [("Fallback", "sms"), ("Details.Message", "Log in?"), ("Fallback", "totp")], as: producer.backend,
                headers: header)
            #expect(replayed.status == 201 && replayed.header("Idempotency-Replayed") == "true")
            #expect(replayed.header("RateLimit-Limit") == nil)
            #expect(try replayed.text("sid") == first.text("sid"))
            #expect(try replayed.text("status") == "expired")
            for form in [[("Fallback", "totp"), ("Fallback", "sms")], [("Fallback", "sms")], []] {
                let other = try await scene.create(form, headers: header)
                #expect(other.status == 422)
                #expect(try other.code() == 20422)
                #expect(try other.json()["status"] == .integer(422))
            }
            #expect(try await producer.drainOutbox().pushes.isEmpty)
            _ = try await producer.enroll("user-0002", service: scene.service)
            let elsewhere = try await producer.post(
                "\(scene.service)/Entities/user-0002/Challenges", [("Details.Message", "Log in?")],
                as: producer.backend,
                headers: header)
            #expect(elsewhere.status == 201 && elsewhere.header("Idempotency-Replayed") == nil)
            for bad in ["", "two words", String(repeating: "k", count: 256)] {
                let answer = try await scene.create(headers: [("Idempotency-Key", bad)])
                #expect(answer.status == 400 && answer.text.contains("Idempotency-Key"), "\(answer.text)")
            }
            producer.clock.advance(.seconds(24 * 3600))
            let late = try await scene.create([("Fallback", "sms"), ("Fallback", "totp")], headers: header)
            #expect(late.status == 201 && late.header("Idempotency-Replayed") == nil)
            #expect(try late.text("sid") != first.text("sid"))
        }
    }

    @Test("a key with any other call than a creation is named in Beckon-Ignored: trying that again does it again")
    func otherCalls() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let header = [("Idempotency-Key", "key-1")]
            let created = try await scene.create([("Tpyo", "1")], headers: header)
            #expect(created.header("Beckon-Ignored") == "Tpyo")
            let resend = "\(scene.phone.challengesPath)/\(try created.text("sid"))/Notifications"
            let calls: [(String, [(String, String)])] = [
                (resend, []), (scene.service, [("FriendlyName", "Shop")]),
                ("\(scene.service)/SessionTokens", [("Identity", PolicyScene.identity)]),
                ("\(scene.service)/AccessTokens", [("Identity", PolicyScene.identity), ("FactorType", "push")]),
            ]
            for (path, form) in calls {
                let answer = try await producer.post(
                    path, form + [("Tpyo", "1")], as: producer.backend, headers: header)
                #expect([200, 201].contains(answer.status), "\(path): \(answer.text)")
                #expect(answer.header("Beckon-Ignored") == "Idempotency-Key,Tpyo", "\(path)")
                let plain = try await producer.post(path, form, as: producer.backend)
                #expect(plain.header("Beckon-Ignored") == nil, "\(path)")
            }
        }
    }

    @Test("a one-time code is used once under an idempotency key")
    func codes() async throws {
        try await ProducerHarness.run { producer in
            let path = try await producer.makeService()
            let made = try await producer.post(
                "\(path)/Entities/user-0001/Factors",
                [
                    ("FactorType", "totp"), ("FriendlyName", "app"),
                    ("Binding.Secret", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
                ],
                as: producer.backend)
            let secret = Array("12345678901234567890".utf8)
            let code = { OneTimeCode().code(step: producer.clock.nowMs / 30_000, secret: secret) }
            let factor = try made.text("sid")
            _ = try await producer.post(
                "\(path)/Entities/user-0001/Factors/\(factor)", [("AuthPayload", code())], as: producer.backend)
            producer.clock.advance(.seconds(60))
            let form = [("FactorSid", factor), ("AuthPayload", code())]
            func create(_ form: [(String, String)]) async throws -> HTTPAnswer {
                try await producer.post(
                    "\(path)/Entities/user-0001/Challenges", form, as: producer.backend,
                    headers: [("Idempotency-Key", "code-1")])
            }
            let first = try await create(form)
            #expect(try first.status == 201 && first.text("status") == "approved", "\(first.text)")
            let again = try await create(form)
            #expect(try again.status == 201 && again.text("sid") == first.text("sid"))
            #expect(again.header("Idempotency-Replayed") == "true" && again.header("Beckon-Ignored") == nil)
            #expect(try await create([("FactorSid", factor)]).status == 422)
            let deleted = try await producer.delete(
                "\(path)/Entities/user-0001/Factors/\(factor)", as: producer.backend)
            #expect(deleted.status == 204)
            let late = try await create(form)
            #expect(late.status == 201, "\(late.text)")
            #expect(try late.text("sid") == first.text("sid") && late.text("status") == "approved")
        }
    }

    @Test("a replay finds what its key made when that is over, and when nothing new is taken")
    func replays() async throws {
        let few: @Sendable (inout ProducerConfiguration) -> Void = { $0.outboxLimit = 40 }
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none, adjust: few) { producer in
            let scene = try await PolicyScene(producer)
            let header = [("Idempotency-Key", "key-1")]
            let form = [("ExpirationDate", Timestamp.rfc3339Seconds(producer.clock.nowMs + 60_000)), ("Tpyo", "1")]
            let first = try await scene.create(form, headers: header)
            #expect(first.status == 201, "\(first.text)")
            producer.clock.advance(.seconds(61))
            let over = try await scene.create(form, headers: header)
            #expect(over.status == 201, "\(over.text)")
            #expect(try over.text("sid") == first.text("sid") && over.text("status") == "expired")
            #expect(over.header("Idempotency-Replayed") == "true" && over.header("Beckon-Ignored") == "Tpyo")
            // Of what is new the same parameters are refused, also under a key.
            let new = try await scene.create(form, headers: [("Idempotency-Key", "key-2")])
            #expect(try new.status == 400 && new.text("message").contains("ExpirationDate"), "\(new.text)")

            // The relay does not run: the outbox fills.
            try await becomesTrue("the outbox is full") { try await scene.create().status == 503 }
            #expect(try await scene.create(headers: [("Idempotency-Key", "key-3")]).status == 503)
            let shed = try await scene.create(form, headers: header)
            #expect(try shed.status == 201 && shed.text("sid") == first.text("sid"), "\(shed.text)")
        }
    }
}
