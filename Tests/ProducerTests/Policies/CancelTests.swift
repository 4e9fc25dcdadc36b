import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("Canceling", .timeLimit(.minutes(10)))
struct CancelTests {
    @Test("a backend cancels: it reads expired and not_needed, twice is 200, and an answer comes too late")
    func cancel() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let sid = try await scene.create([("FactorSid", scene.phone.factor)]).text("sid")
            for value in ["approved", "denied", "expired", "cancelled", "pending", ""] {
                let refused = try await scene.cancel(sid, value)
                #expect(refused.status == 400)
                #expect(try refused.code() == 60200)
                #expect(try refused.text("message").contains("Status"))
            }
            let shown = try await scene.read(sid, as: scene.phone.token(nowMs: producer.clock.nowMs))
            for _ in 0..<2 {
                let canceled = try await scene.cancel(sid)
                #expect(canceled.status == 200, "\(canceled.text)")
                #expect(try canceled.text("status") == "expired")
                #expect(try canceled.text("responded_reason") == "not_needed")
                #expect(try canceled.json()["beckon"] == nil)
            }
            let late = try await producer.post(
                "\(scene.phone.challengesPath)/\(sid)", [("AuthPayload", try scene.phone.answer(shown, "approved"))],
                as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(late.status == 403)
            #expect(try late.code() == 60323)
            let device = try await scene.read(sid, as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(try device.text("status") == "expired")
            #expect(device.header("Twilio-Verify-Signature-Fields") == nil)
        }
    }

    @Test("what was answered is 60322, what has expired 60323; a device and a read key cancel nothing")
    func refused() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let answered = try await scene.create().text("sid")
            #expect(try await scene.answer(answered).status == 200)
            let lost = try await scene.cancel(answered)
            #expect(lost.status == 403)
            #expect(try lost.code() == 60322)
            let pending = try await scene.create().text("sid")
            let path = "\(scene.phone.challengesPath)/\(pending)"
            let device = try await producer.post(
                path, [("Status", "canceled")], as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(device.status == 403)
            #expect(try device.code() == 20006)
            let reader = try await producer.post(path, [("Status", "canceled")], as: producer.key(.read))
            #expect(reader.status == 403)
            #expect(try await scene.read(pending).text("status") == "pending")
            #expect(
                try await producer.post(path, [("Status", "canceled")], as: producer.key(.send)).status == 200)
            let old = try await scene.create().text("sid")
            producer.clock.advance(.seconds(301))
            let late = try await scene.cancel(old)
            #expect(late.status == 403)
            #expect(try late.code() == 60323)
        }
    }

    @Test("a cancel and an answer race 1,000 times: one status, one final event, the loser is told")
    func race() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5], limits: .none) { producer in
            let scene = try await PolicyScene(producer)
            try await withThrowingTaskGroup(of: Void.self) { group async throws in
                for index in 0..<1000 {
                    if index >= 16 { try await group.next() }
                    group.addTask { try await Self.raceOnce(scene, approving: index % 2 == 0) }
                }
                try await group.waitForAll()
            }
            var finals: [String: [String]] = [:]
            var resolutions: [String: Int] = [:]
            for row in try await producer.drainOutbox() {
                if row.topic == .resolutions { resolutions[row.key, default: 0] += 1 }
                guard row.topic == .events else { continue }
                let type = try CloudEvent(json: row.value).type
                if ["approved", "denied", "canceled", "expired"].contains(where: { type == "beckon.challenge.\($0)" }) {
                    finals[row.key, default: []].append(type)
                }
            }
            #expect(finals.count == 1000 && finals.values.allSatisfy { $0.count == 1 })
            #expect(resolutions.count == 1000 && resolutions.values.allSatisfy { $0 == 1 })
            let canceled = finals.values.count { $0 == ["beckon.challenge.canceled"] }
            print("1,000 races: canceled \(canceled), answered \(1000 - canceled)")
        }
    }

    private static func raceOnce(_ scene: PolicyScene, approving: Bool) async throws {
        let producer = scene.producer
        let now = producer.clock.nowMs
        let sid = try await scene.create().text("sid")
        let shown = try await scene.read(sid, as: scene.phone.token(nowMs: now))
        let payload = try scene.phone.answer(shown, approving ? "approved" : "denied")
        let token = try scene.phone.token(nowMs: now)
        async let answered = producer.post(
            "\(scene.phone.challengesPath)/\(sid)", [("AuthPayload", payload)], as: token)
        async let canceled = scene.cancel(sid)
        let (answer, cancel) = (try await answered, try await canceled)
        let status = try await scene.read(sid).text("status")
        if answer.status == 200 {
            #expect(cancel.status == 403)
            #expect(try cancel.code() == 60322)
            #expect(status == (approving ? "approved" : "denied"))
        } else {
            #expect(cancel.status == 200)
            #expect(try answer.status == 403 && answer.code() == 60323, "\(answer.text)")
            #expect(status == "expired")
        }
    }
}
