import ChallengeModel
import Foundation
import Testing
import Wire

@testable import Producer

/// Also by twilio-python, in Tests/Conformance; here by a clock that the test moves.
@Suite("One-time codes over HTTP", .timeLimit(.minutes(5)))
struct CodeFactorTests {
    @Test("a code enrols, approves once, and its secret is shown once")
    func life() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let entity = "\(service)/Entities/user-0001"
            let made = try await producer.post(
                "\(entity)/Factors", [("FactorType", "totp"), ("FriendlyName", "Ann & Bob")], as: producer.backend)
            #expect(made.status == 201, "\(made.text)")
            let text = try #require(try made.json()["binding"]?["secret"]?.stringValue)
            let uri = "otpauth://totp/Bank:Ann%20%26%20Bob?secret=\(text)&issuer=Bank&algorithm=SHA1&digits=6&period=30"
            #expect(try made.json()["binding"]?["uri"]?.stringValue == uri)
            let secret = try #require(Base32.decode(text))
            #expect(secret.count == 20)
            func code(_ steps: Int64 = 0) -> String {
                let rule = OneTimeCode()
                return rule.code(step: rule.step(atMs: producer.clock.nowMs) + steps, secret: secret)
            }
            let factor = "\(entity)/Factors/\(try made.text("sid"))"
            let verified = try await producer.post(factor, [("AuthPayload", code())], as: producer.backend)
            #expect(try verified.text("status") == "verified")
            let read = try await producer.get(factor, as: producer.backend)
            #expect(!verified.text.contains(text) && !read.text.contains(text))

            let form = [("FactorSid", try made.text("sid"))]
            let used = try await producer.post(
                "\(entity)/Challenges", form + [("AuthPayload", code())], as: producer.backend)
            #expect(used.status == 201)
            #expect(try used.text("status") == "pending")
            let path = "\(entity)/Challenges/\(try used.text("sid"))"
            #expect(try await producer.post(path, [("AuthPayload", code())], as: producer.backend).code() == 60324)
            producer.clock.advance(.seconds(30))
            // A step ahead is good within the skew, and uses up the one before it.
            let answered = try await producer.post(path, [("AuthPayload", code(1))], as: producer.backend)
            #expect(try answered.text("status") == "approved")
            let next = try await producer.post(
                "\(entity)/Challenges", form + [("AuthPayload", code())], as: producer.backend)
            #expect(try next.text("status") == "pending")
            #expect(producer.metrics.count(.answers, [("result", "approved")]) == 1)
        }
    }

    @Test("extensions for pushes are ignored by name, and a device answers no code")
    func ignored() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let device = try await producer.enroll("user-0001", service: service)
            let entity = "\(service)/Entities/user-0001"
            let made = try await producer.post(
                "\(entity)/Factors",
                [
                    ("FactorType", "totp"), ("FriendlyName", "app"),
                    ("Binding.Secret", Base32.encode(Array("12345678901234567890".utf8))),
                ],
                as: producer.backend)
            let rule = OneTimeCode()
            let code = rule.code(
                step: rule.step(atMs: producer.clock.nowMs), secret: Array("12345678901234567890".utf8))
            _ = try await producer.post(
                "\(entity)/Factors/\(try made.text("sid"))", [("AuthPayload", code)], as: producer.backend)
            let challenge = try await producer.post(
                "\(entity)/Challenges", [("FactorSid", try made.text("sid")), ("Fallback", "sms")], as: producer.backend
            )
            #expect(challenge.header("Beckon-Ignored") == "Fallback")
            #expect(try challenge.json()["beckon"] == nil)
            let path = "\(entity)/Challenges/\(try challenge.text("sid"))"
            let read = try await producer.get(path, as: producer.backend)
            #expect(read.header("Twilio-Verify-Signature-Fields") == nil)
            let byDevice = try await producer.post(
                path, [("AuthPayload", code)], as: device.token(nowMs: producer.clock.nowMs))
            #expect(byDevice.status == 404)
        }
    }
}
