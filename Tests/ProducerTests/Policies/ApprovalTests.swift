import ChallengeModel
import Challenges
import Crypto
import Foundation
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("What an approval needs", .timeLimit(.minutes(5)))
struct ApprovalTests {
    private static func number(_ answer: HTTPAnswer) throws -> String {
        try #require(try answer.json()["beckon"]?["number_matching"]?["number"]?.stringValue, "\(answer.text)")
    }

    @Test("a number is shown no more once the challenge reads expired, whether the sweep was there or not")
    func expiredNumber() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer, [("Push.NumberMatching", "required")])
            let key = [("Idempotency-Key", "k")]
            let created = try await scene.create(headers: key)
            let sid = try created.text("sid")
            _ = try Self.number(created)
            // The sweep comes every half second: at the first of these it was hardly there.
            producer.clock.advance(.seconds(302))
            for answer in [try await scene.read(sid), try await scene.create(headers: key)] {
                #expect(try answer.text("status") == "expired" && answer.text("sid") == sid)
                #expect(try answer.json()["beckon"]?["number_matching"]?["number"] == .null)
            }
        }
    }

    @Test("a number: in the backend's replies only, asked of an approval, and the third wrong one denies")
    func number() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let created = try await scene.create([("FactorSid", scene.phone.factor), ("NumberMatching", "true")])
            let (sid, number) = (try created.text("sid"), try Self.number(created))
            #expect(number.utf8.count == 2 && Int(number) != nil)
            #expect(try Self.number(try await scene.read(sid)) == number)
            #expect(try Self.number(try await scene.read(sid, as: producer.key(.send))) == number)
            let reader = try await scene.read(sid, as: producer.key(.read))
            #expect(try reader.json()["beckon"]?["number_matching"]?["number"] == .null)
            #expect(try reader.json()["beckon"]?["number_matching"]?["digits"] == .integer(2))
            let list = try await producer.get(scene.phone.challengesPath, as: producer.backend)
            #expect(try list.items("challenges")[0]["beckon"]?["number_matching"]?["number"] == .null)
            let shown = try await scene.read(sid, as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(try shown.json()["beckon"] == .object([("number_digits", .integer(2))]))

            // An old client: it knows no Number.
            let old = try await scene.answer(sid)
            #expect(old.status == 403)
            #expect(try old.code() == 60324)
            #expect(try old.text("message").contains("Number"))
            #expect(try await scene.read(sid).text("status") == "pending")
            let wrong = number == "00" ? "01" : "00"
            let first = try await scene.answer(sid, "approved", [("Number", wrong)])
            #expect(try first.status == 403 && first.code() == 60324)
            #expect(!SecretSearch(number, what: "number").isIn(Array(first.text.utf8)))
            #expect(try await scene.read(sid).text("status") == "pending")
            let right = try await scene.answer(sid, "approved", [("Number", number)])
            #expect(right.status == 200)
            #expect(try right.text("status") == "approved")
            #expect(
                try await scene.read(sid).json()["beckon"]?["number_matching"]?["number"] == .null, "needed no more")

            let guessed = try await scene.create([("NumberMatching", "true"), ("NumberDigits", "6")])
            let second = try guessed.text("sid")
            #expect(try Self.number(guessed).utf8.count == 6)
            for guess in ["000000", "12345"] {
                // None of these can be right: a number of five digits, and one that is not the number.
                let value = try Self.number(guessed) == guess ? "000001" : guess
                #expect(try await scene.answer(second, "approved", [("Number", value)]).code() == 60324)
            }
            // Not signed by the phone: counts nothing.
            let read = try await scene.read(second, as: scene.phone.token(nowMs: producer.clock.nowMs))
            let forged = try await producer.post(
                "\(scene.phone.challengesPath)/\(second)",
                [
                    ("AuthPayload", try scene.phone.answer(read, "approved", key: P256.Signing.PrivateKey())),
                    ("Number", "999999"),
                ], as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(try forged.status == 403 && forged.code() == 60324)
            #expect(try await scene.read(second).text("status") == "pending")
            let third = try await scene.answer(second, "approved", [("Number", "no")])
            #expect(try third.status == 403 && third.code() == 60324)
            let ended = try await scene.read(second)
            #expect(try ended.text("status") == "denied")
            #expect(try ended.json()["beckon"]?["denied_reason"] == .string("wrong_number"))
            let end = try await scene.end(second)
            #expect(end["event"] == .string("denied") && end["reason"] == .string("wrong_number"))
            #expect(end["factor_sid"] == .string(scene.phone.factor))
            #expect(
                try await producer.post(
                    "\(scene.phone.challengesPath)/\(second)",
                    [
                        ("AuthPayload", try scene.phone.answer(read, "approved")),
                        ("Number", try Self.number(guessed)),
                    ],
                    as: scene.phone.token(nowMs: producer.clock.nowMs)
                ).code() == 60322)
            let denial = try await scene.create([("NumberMatching", "true")]).text("sid")
            for _ in 0..<2 { #expect(try await scene.answer(denial, "approved", [("Number", "no")]).status == 403) }
            #expect(try await scene.answer(denial, "denied").text("status") == "denied")
            // The person's own no, also after wrong numbers.
            #expect(try await scene.read(denial).json()["beckon"]?["denied_reason"] == nil)
            let own = try await scene.end(denial)
            #expect(own["event"] == .string("denied") && own["reason"] == nil)
        }
    }

    @Test("the very same request again, because its reply was lost, is one try")
    func sameRequest() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let created = try await scene.create([("NumberMatching", "true")])
            let (sid, number) = (try created.text("sid"), try Self.number(created))
            let token = try scene.phone.token(nowMs: producer.clock.nowMs)
            let read = try await scene.read(sid, as: token)
            let form = [
                ("AuthPayload", try scene.phone.answer(read, "approved")), ("Number", number == "00" ? "01" : "00"),
            ]
            for _ in 0..<5 {
                let answer = try await producer.post("\(scene.phone.challengesPath)/\(sid)", form, as: token)
                #expect(try answer.status == 403 && answer.text("message").contains("tries left: 2"), "\(answer.text)")
            }
            #expect(try await scene.answer(sid, "approved", [("Number", number)]).status == 200)
        }
    }

    @Test("a session: approval by who is signed in, with a token for one person, device and challenge")
    func session() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let stranger = try await producer.enroll("user-0002", service: scene.service)
            let sid = try await scene.create([("RequireSession", "true")]).text("sid")
            let shown = try await scene.read(sid, as: scene.phone.token(nowMs: producer.clock.nowMs))
            #expect(try shown.json()["beckon"] == .object([("require_session", .boolean(true))]))
            let others = try await scene.sessionToken("user-0002")
            let elsewhere = try await PolicyScene(producer)
            // The same person's other device, and the same name with another account.
            let tablet = try await producer.enroll(PolicyScene.identity, service: scene.service)
            let tablets = try await scene.sessionToken(PolicyScene.identity, [("FactorSid", tablet.factor)])
            let foreign = try await Self.foreignToken(producer)
            for token in [nil, "", "nonsense", others, try await elsewhere.sessionToken(), tablets, foreign] {
                let refused = try await scene.answer(sid, "approved", token.map { [("SessionToken", $0)] } ?? [])
                #expect(refused.status == 403)
                #expect(try refused.code() == 60324)
                #expect(try refused.text("message").contains("SessionToken"))
                #expect(try await scene.read(sid).text("status") == "pending")
            }
            let token = try await scene.sessionToken()
            #expect(try await scene.answer(sid, "approved", [("SessionToken", token)]).text("status") == "approved")
            let next = try await scene.create([("RequireSession", "true")]).text("sid")
            #expect(try await scene.answer(next, "approved", [("SessionToken", token)]).code() == 60324, "replayed")
            let old = try await scene.sessionToken("user-0001", [("Ttl", "30")])
            producer.clock.advance(.seconds(31))
            #expect(try await scene.answer(next, "approved", [("SessionToken", old)]).code() == 60324, "over")
            let bound = try await scene.sessionToken("user-0001", [("FactorSid", scene.phone.factor)])
            #expect(try await scene.answer(next, "approved", [("SessionToken", bound)]).status == 200)
            let denied = try await scene.create([("RequireSession", "true")]).text("sid")
            #expect(try await scene.answer(denied, "denied").text("status") == "denied")
            #expect(
                try await scene.create([("RequireSession", "true")]).json()["beckon"]?["require_session"]
                    == .boolean(true))

            func refusal(_ form: [(String, String)]) async throws -> HTTPAnswer {
                try await producer.post("\(scene.service)/SessionTokens", form, as: producer.backend)
            }
            #expect(try await refusal([]).code() == 60200)
            #expect(try await refusal([("Identity", "user-0009")]).status == 404)
            #expect(try await refusal([("Identity", "user-0001"), ("FactorSid", stranger.factor)]).status == 404)
            #expect(try await refusal([("Identity", "user-0001"), ("FactorSid", "phone")]).code() == 60200)
            for ttl in ["29", "301", "x"] {
                #expect(try await refusal([("Identity", "user-0001"), ("Ttl", ttl)]).code() == 60200)
            }
        }
    }

    /// A session token of another account, for the same identity.
    private static func foreignToken(_ producer: ProducerHarness) async throws -> String {
        let stranger = try await producer.store.createAccount(nowMs: producer.clock.nowMs)
        let theirs = Authorization.basic(stranger.sid.rawValue, stranger.authToken)
        let service = try await producer.post("/v2/Services", [("FriendlyName", "Shop")], as: theirs).text("sid")
        let identity = [("Identity", PolicyScene.identity)]
        #expect(try await producer.post("/v2/Services/\(service)/Entities", identity, as: theirs).status == 201)
        return try await producer.post("/v2/Services/\(service)/SessionTokens", identity, as: theirs).text("token")
    }

    @Test("a service's demands hold for every challenge, and one that asks for less is 400")
    func service() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(
                producer,
                [("Push.NumberMatching", "required"), ("Push.NumberDigits", "3"), ("Push.RequireSession", "true")])
            for (name, value) in [("NumberMatching", "false"), ("NumberDigits", "2"), ("RequireSession", "false")] {
                let refused = try await scene.create([(name, value)])
                #expect(refused.status == 400)
                #expect(try refused.code() == 60200)
                #expect(try refused.text("message").contains("\(name): expected"), "\(refused.text)")
            }
            let created = try await scene.create()
            let (sid, number) = (try created.text("sid"), try Self.number(created))
            #expect(number.utf8.count == 3)
            #expect(try await scene.answer(sid, "approved", [("Number", number)]).code() == 60324)
            let token = try await scene.sessionToken()
            #expect(try await scene.answer(sid, "approved", [("SessionToken", token)]).code() == 60324)
            // Lowered while it is pending: it stays as it was asked.
            _ = try await producer.post(
                scene.service, [("Push.NumberMatching", "off"), ("Push.RequireSession", "false")], as: producer.backend)
            #expect(try await scene.answer(sid).code() == 60324)
            let both = [("Number", number), ("SessionToken", token)]
            #expect(try await scene.answer(sid, "approved", both).text("status") == "approved")
            #expect(try await scene.create([("NumberMatching", "false"), ("NumberDigits", "4")]).code() == 60200)
        }
    }

    @Test("the signed answer and its key stay with the challenge, for full-role callers")
    func evidence() async throws {
        try await ProducerHarness.run { producer in
            let scene = try await PolicyScene(producer)
            let sid = try await scene.create([("FactorSid", scene.phone.factor)]).text("sid")
            let unsigned = try await scene.read(sid, query: "?Evidence=true&Tpyo=1")
            #expect(try unsigned.json()["beckon"] == nil, "nothing is signed yet")
            #expect(unsigned.header("Beckon-Ignored") == "Tpyo", "what is read is not named")
            #expect(try await scene.answer(sid, "denied").status == 200)
            #expect(try await producer.delete(scene.phone.factorPath, as: producer.backend).status == 204)
            #expect(try await scene.read(sid).json()["beckon"] == nil, "a client that does not ask sees nothing new")
            let evidence = try #require(
                try await scene.read(sid, query: "?Evidence=true").json()["beckon"]?["evidence"])
            #expect(evidence["factor_sid"] == .string(scene.phone.factor))
            let der = try #require(Data(base64Encoded: evidence["public_key"]?.stringValue ?? ""))
            #expect(der == scene.phone.key.publicKey.derRepresentation)
            let jwt = try #require(CompactJWT(evidence["signed_answer"]?.stringValue ?? ""))
            #expect(jwt.isSigned(by: Array(der)))
            #expect(jwt.payload["status"] == .string("denied") && jwt.payload["sid"] == .string(sid))
            for role in [AccountRole.send, .read] {
                let shown = try await scene.read(sid, as: producer.key(role), query: "?Evidence=true")
                #expect(try shown.json()["beckon"] == nil)
            }
            // Where the object is shown anyway, a full-role caller finds it there.
            let phone = try await producer.enroll(PolicyScene.identity, service: scene.service)
            let fanOut = try await scene.create().text("sid")
            #expect(try await scene.answer(fanOut, by: phone).status == 200)
            #expect(try await scene.read(fanOut).json()["beckon"]?["evidence"]?["factor_sid"] == .string(phone.factor))
            #expect(try await scene.read(fanOut, as: producer.key(.send)).json()["beckon"]?["evidence"] == nil)
        }
    }
}
