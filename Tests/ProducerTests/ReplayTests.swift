import ChallengeModel
import Challenges
import Crypto
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("A device's token is good for one change", .timeLimit(.minutes(5)))
struct ReplayTests {
    @Test("the token of a change is refused for any other request that changes something, and good for reading")
    func once() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let paths = try await Self.challenges(2, producer, phone, service)
            let read = try await producer.get(paths[0], as: phone.token(nowMs: producer.clock.nowMs))
            let second = try await producer.get(paths[1], as: phone.token(nowMs: producer.clock.nowMs))
            let token = try phone.token(nowMs: producer.clock.nowMs)
            let denial = try phone.answer(read, "denied")
            let answered = try await producer.post(paths[0], [("AuthPayload", denial)], as: token)
            #expect(answered.status == 200)

            let other = try phone.answer(second, "approved")
            let refusals = [
                try await producer.post(paths[1], [("AuthPayload", other)], as: token),
                try await producer.post(phone.factorPath, [("FriendlyName", "stolen")], as: token),
                try await producer.post("\(paths[1])/Receipts", [], as: token),
                try await producer.delete(phone.factorPath, as: token),
            ]
            for refusal in refusals {
                #expect(refusal.status == 401)
                #expect(try refusal.code() == 20160)
                #expect(refusal.header("Date") != nil, "SDKs sign again")
            }
            #expect(try await producer.get(paths[1], as: producer.backend).text("status") == "pending")
            #expect(try await producer.get(phone.factorPath, as: producer.backend).status == 200)
            #expect(try await producer.get(paths[1], as: token).status == 200, "reading is no change")
            let fresh = try phone.token(nowMs: producer.clock.nowMs)
            #expect(try await producer.post(paths[1], [("AuthPayload", other)], as: fresh).status == 200)
        }
    }

    @Test("the same bytes again get the same answer: verify, change, answer, receipt, delete")
    func repeated() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service, isVerified: false)
            func twice(_ path: String, _ form: [(String, String)]) async throws {
                let token = try phone.token(nowMs: producer.clock.nowMs)
                let first = try await producer.post(path, form, as: token)
                producer.clock.advance(.seconds(2))
                let again = try await producer.post(path, form, as: token)
                #expect((200..<300).contains(first.status), "\(first.text)")
                #expect(again.status == first.status && again.bytes == first.bytes, "\(again.text)")
            }
            try await twice(phone.factorPath, [("AuthPayload", try phone.proof())])
            try await twice(phone.factorPath, [("FriendlyName", "new name")])
            let path = try await Self.challenges(1, producer, phone, service)[0]
            try await twice("\(path)/Receipts", [("Shown", "yes")])
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            try await twice(path, [("AuthPayload", try phone.answer(read, "approved"))])
            let token = try phone.token(nowMs: producer.clock.nowMs)
            for _ in 0..<3 { #expect(try await producer.delete(phone.factorPath, as: token).status == 204) }
            let late = try await producer.delete(phone.factorPath, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(late.status == 401, "another token of a factor that is gone")
        }
    }

    @Test("a receipt that comes again says nothing more of its device, also when it said what was so already")
    func repeatedReceipt() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let path = try await Self.challenges(1, producer, phone, service)[0]
            func tell(_ path: String, _ isEnabled: String, as token: Authorization) async throws {
                let answer = try await producer.post(
                    path, [("Config.NotificationsEnabled", isEnabled), ("Shown", "no")], as: token)
                #expect((200..<300).contains(answer.status), "\(answer.text)")
            }
            func fresh() throws -> Authorization {
                try phone.token(nowMs: producer.clock.nowMs, payload: ["jti": UUID().uuidString])
            }
            func shown() async throws -> JSONValue? {
                try await producer.get(phone.factorPath, as: producer.backend).json()["config"]?[
                    "notifications_enabled"]
            }
            let (first, second) = (try fresh(), try fresh())
            try await tell("\(path)/Receipts", "false", as: first)
            // Nothing new: neither the receipt nor what it says beside it.
            try await tell("\(path)/Receipts", "false", as: second)
            #expect(try await shown() == .boolean(false))
            try await tell(phone.factorPath, "true", as: fresh())
            for token in [first, second] {
                try await tell("\(path)/Receipts", "false", as: token)
                #expect(try await shown() == .boolean(true))
            }
        }
    }

    @Test("a request that verifies and changes does both or neither, and both when it comes again")
    func bothOrNeither() async throws {
        try await ProducerHarness.run { producer in
            let made = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank"), ("Push.MaxFactors", "1")], as: producer.backend)
            let service = "/v2/Services/\(try made.text("sid"))"
            let phone = try await producer.enroll("user-0001", service: service, isVerified: false)
            let other = try await producer.enroll("user-0001", service: service)
            let token = try phone.token(nowMs: producer.clock.nowMs)
            let form = [("AuthPayload", try phone.proof()), ("FriendlyName", "new name")]
            let refused = try await producer.post(phone.factorPath, form, as: token)
            #expect(try refused.code() == 60315)
            let unchanged = try await producer.get(phone.factorPath, as: producer.backend)
            #expect(try unchanged.text("status") == "unverified")
            #expect(try unchanged.text("friendly_name") != "new name")
            #expect(try await producer.delete(other.factorPath, as: producer.backend).status == 204)
            for _ in 0..<2 {
                let done = try await producer.post(phone.factorPath, form, as: token)
                #expect(done.status == 200, "\(done.text)")
                #expect(try done.text("status") == "verified" && done.text("friendly_name") == "new name")
            }
        }
    }

    @Test("neither the twin of a signature nor another spelling of it makes a used token new")
    func twins() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let now = producer.clock.nowMs / 1000
            let jwt = try TestDevice.jwt(
                ["typ": "JWT", "alg": "ES256", "cty": "twilio-pba;v=1", "kid": phone.keyID],
                ["sub": phone.account, "nbf": now, "exp": now + 600], key: phone.key)
            let used = try await producer.post(
                phone.factorPath, [("FriendlyName", "mine")], as: .basic("token", jwt))
            #expect(used.status == 200)
            let parts = jwt.split(separator: ".").map(String.init)
            let signature = try #require(Base64URL.decode(Substring(parts[2])))
            let twin = "\(parts[0]).\(parts[1]).\(Base64URL.encode(Self.twin(Array(signature))))"
            var spelled = jwt
            let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
            let last = try #require(alphabet.firstIndex(of: spelled.removeLast()))
            spelled.append(alphabet[last ^ 1])
            for forged in [twin, spelled] {
                let answer = try await producer.post(
                    phone.factorPath, [("FriendlyName", "stolen")], as: .basic("token", forged))
                #expect(answer.status == 401)
                #expect(forged != jwt)
            }
            #expect(try await producer.get(phone.factorPath, as: producer.backend).text("friendly_name") == "mine")
        }
    }

    @Test("of fifty requests at once under one token one changes something")
    func racing() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let token = try phone.token(nowMs: producer.clock.nowMs)
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<50 {
                    group.addTask {
                        try await producer.post(phone.factorPath, [("FriendlyName", "name \(number)")], as: token)
                            .status
                    }
                }
                var statuses: [Int] = []
                for try await status in group { statuses.append(status) }
                return statuses
            }
            #expect(statuses.filter { $0 == 200 }.count == 1)
            #expect(statuses.filter { $0 == 401 }.count == 49)
        }
    }

    static func challenges(
        _ count: Int, _ producer: ProducerHarness, _ phone: TestDevice, _ service: String
    ) async throws -> [String] {
        var paths: [String] = []
        for _ in 0..<count {
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            paths.append("\(phone.challengesPath)/\(try created.text("sid"))")
        }
        return paths
    }

    /// (r, n − s): as good a signature as (r, s).
    static func twin(_ signature: [UInt8]) -> [UInt8] {
        let order: [UInt8] = [
            0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA, 0xAD,
            0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
        ]
        var twin = signature
        var borrow = 0
        for index in (0..<32).reversed() {
            let difference = Int(order[index]) - Int(signature[32 + index]) - borrow
            borrow = difference < 0 ? 1 : 0
            twin[32 + index] = UInt8(truncatingIfNeeded: difference)
        }
        return twin
    }
}
