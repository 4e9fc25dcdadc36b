import ChallengeModel
import Challenges
import Crypto
import Foundation
import Testing

@testable import Producer

@Suite("What is refused", .timeLimit(.minutes(5)))
struct RefusalTests {
    @Test("a forged, foreign or altered answer is 403 60324 and the challenge stays pending")
    func forgedAnswers() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let other = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(
                service, "user-0001", [("FactorSid", phone.factor), ("HiddenDetails", #"{"amount":"10"}"#)])
            let second = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            let readSecond = try await producer.get(
                "\(phone.challengesPath)/\(try second.text("sid"))", as: phone.token(nowMs: producer.clock.nowMs))
            let good = try phone.answer(read, "approved")
            let parts = good.split(separator: ".")
            let forged: [(String, String)] = [
                ("another key", try phone.answer(read, "approved", key: P256.Signing.PrivateKey())),
                ("another device's key", try phone.answer(read, "approved", key: other.key)),
                ("alg none", try phone.answer(read, "approved", header: ["alg": "none", "typ": "JWT"])),
                ("alg HS256", try phone.answer(read, "approved", header: ["alg": "HS256", "typ": "JWT"])),
                ("replay of another challenge", try phone.answer(readSecond, "approved")),
                ("another message", try phone.answer(read, "approved", changing: ["details": ["message": "Pay 1"]])),
                (
                    "another hidden detail",
                    try phone.answer(read, "approved", changing: ["hidden_details": ["amount": "9"]])
                ),
                ("another factor", try phone.answer(read, "approved", changing: ["factor_sid": other.factor])),
                (
                    "another expiry",
                    try phone.answer(read, "approved", changing: ["expiration_date": "2030-01-01T00:00:00Z"])
                ),
                ("status expired", try phone.answer(read, "expired")),
                ("status of another type", try phone.answer(read, "approved", changing: ["status": true])),
                (
                    "payload swapped",
                    "\(parts[0]).\(try phone.answer(read, "denied").split(separator: ".")[1]).\(parts[2])"
                ),
                ("cut", String(good.dropLast(2))), ("no JWT", "yes"),
                ("padded", good + "=="),
            ]
            for (what, payload) in forged {
                let answer = try await producer.post(
                    path, [("AuthPayload", payload)], as: phone.token(nowMs: producer.clock.nowMs))
                #expect(answer.status == 403, "\(what)")
                #expect(try answer.code() == 60324, "\(what)")
                #expect(try await producer.get(path, as: producer.backend).text("status") == "pending", "\(what)")
            }
            let backend = try await producer.post(path, [("AuthPayload", good)], as: producer.backend)
            #expect(backend.status == 403)
            #expect(try backend.code() == 20006)
            let addressed = try await producer.post(
                path, [("AuthPayload", good)], as: other.token(nowMs: producer.clock.nowMs))
            #expect(addressed.status == 404, "it is not addressed to the other device")
            let none = try await producer.post(path, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try none.code() == 60200)
            let bad = try await producer.post(
                path, [("AuthPayload", good), ("Metadata", "no json")], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try bad.code() == 60200)
            #expect(producer.metrics.count(.answers, [("result", "refused")]) == Int64(forged.count))

            let taken = try await producer.post(
                path, [("AuthPayload", good)], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(taken.status == 200)
            let repeated = try await producer.post(
                path, [("AuthPayload", good)], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(repeated.status == 200, "the same bytes again: a lost reply, not a second answer")
            #expect(try repeated.text("status") == "approved")
            for payload in [try phone.answer(read, "approved"), try phone.answer(read, "denied"), "forged"] {
                let again = try await producer.post(
                    path, [("AuthPayload", payload)], as: phone.token(nowMs: producer.clock.nowMs))
                #expect(again.status == 403)
                #expect(try again.code() == 60322)
            }
        }
    }

    @Test("an answer at or after the expiry is 403 60323, and everyone reads expired")
    func expired() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            producer.clock.advance(.seconds(301))
            let late = try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "approved"))],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(late.status == 403)
            #expect(try late.code() == 60323)
            let after = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try after.text("status") == "expired")
            #expect(after.header("Twilio-Verify-Signature-Fields") == nil)
        }
    }

    @Test("a device's token that is not exactly right is 401 of its own code, with Date")
    func deviceTokens() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let other = try await producer.enroll("user-0002", service: service)
            let now = producer.clock.nowMs / 1000
            func refused(_ what: String, _ token: Authorization, _ code: Int, path: String? = nil) async throws {
                let answer = try await producer.get(path ?? phone.challengesPath, as: token)
                #expect(answer.status == 401, "\(what)")
                #expect(try answer.code() == code, "\(what)")
                #expect(answer.header("Date") != nil, "\(what)")
                #expect(answer.header("WWW-Authenticate") != nil, "\(what)")
            }
            func token(
                header: [String: Any] = [:], payload: [String: Any] = [:], key: P256.Signing.PrivateKey? = nil
            ) throws -> Authorization {
                try phone.token(nowMs: producer.clock.nowMs, header: header, payload: payload, key: key)
            }
            try await refused("alg none", token(header: ["alg": "none"]), 20152)
            try await refused("alg ES384", token(header: ["alg": "ES384"]), 20152)
            try await refused("another cty", token(header: ["cty": "twilio-fpa;v=1"]), 20152)
            try await refused("a critical extension", token(header: ["crit": ["x"]]), 20152)
            try await refused("unknown kid", token(header: ["kid": "CR" + String(repeating: "0", count: 32)]), 20151)
            try await refused("another's kid", token(header: ["kid": other.keyID]), 20159)
            try await refused("another key", token(key: P256.Signing.PrivateKey()), 20159)
            try await refused(
                "another account", token(payload: ["sub": "AC" + String(repeating: "0", count: 32)]), 20153)
            try await refused("no exp", token(payload: ["exp": "soon"]), 20154)
            try await refused("expired", token(payload: ["nbf": now - 700, "exp": now]), 20156)
            try await refused("ahead by two minutes", token(payload: ["nbf": now + 120, "exp": now + 720]), 20155)
            try await refused("good for a day", token(payload: ["exp": now + 86_400]), 20157)
            try await refused("no JWT", .basic("token", "abc"), 20160)
            try await refused("nobody", Authorization(header: "Bearer abc"), 20003)
            try await refused("another's path", token(), 20151, path: other.challengesPath)
            try await refused("another's factor", token(), 20151, path: other.factorPath)
            let ahead = try await producer.get(
                phone.challengesPath, as: token(payload: ["nbf": now + 50, "exp": now + 650]))
            #expect(ahead.status == 200, "within the leeway")
            let unknownToBackendRoutes = try await producer.post(phone.challengesPath, as: token())
            #expect(unknownToBackendRoutes.status == 401, "a device creates no challenge")
        }
    }

    @Test("another account sees nothing: 404 for every SID, 401 for a wrong token")
    func otherAccounts() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001")
            let challenge = "\(phone.challengesPath)/\(try created.text("sid"))"
            let stranger = try await producer.store.createAccount(nowMs: producer.clock.nowMs)
            let theirs = Authorization.basic(stranger.sid.rawValue, stranger.authToken)
            for path in [
                service, "\(service)/Entities", "\(service)/Entities/user-0001", phone.factorPath,
                "\(service)/Entities/user-0001/Factors", phone.challengesPath, challenge,
            ] {
                #expect(try await producer.get(path, as: theirs).status == 404, "\(path)")
                #expect(try await producer.get(path, as: producer.backend).status == 200, "\(path)")
            }
            #expect(try await producer.post(service, [("FriendlyName", "mine")], as: theirs).status == 404)
            #expect(try await producer.delete(service, as: theirs).status == 404)
            #expect(try await producer.delete(phone.factorPath, as: theirs).status == 404)
            #expect(
                try await producer.post(phone.challengesPath, [("Details.Message", "x")], as: theirs).status == 404)
            #expect(try await producer.post("\(challenge)/Notifications", as: theirs).status == 404)
            #expect(
                try await producer.post(
                    "\(service)/AccessTokens", [("Identity", "user-0001"), ("FactorType", "push")], as: theirs
                ).status == 404)
            let wrong = try await producer.get(
                service, as: .basic(producer.account.sid.rawValue, stranger.authToken))
            #expect(wrong.status == 401)
            #expect(try wrong.code() == 20003)
        }
    }
}
