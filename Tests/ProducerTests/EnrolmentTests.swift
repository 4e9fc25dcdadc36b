import ChallengeModel
import Challenges
import Crypto
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("Enrolment over HTTP", .timeLimit(.minutes(5)))
struct EnrolmentTests {
    @Test("a device enrols with an access token, verifies, changes its token, and goes")
    func path() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let token = try await producer.post(
                "\(service)/AccessTokens",
                [("Identity", "user-0001"), ("FactorType", "push"), ("FactorFriendlyName", "Ann"), ("Ttl", "120")],
                as: producer.backend)
            #expect(token.status == 201)
            #expect(try token.json()["ttl"]?.integerValue == 120)
            #expect(try token.text("entity_identity") == "user-0001")
            let again = try await producer.get(
                "\(service)/AccessTokens/\(try token.text("sid"))", as: producer.backend)
            #expect(again.status == 200)
            #expect(try again.json()["token"] == .null)

            let device = TestDevice()
            let created = try await producer.post(
                "\(service)/Entities/user-0001/Factors", device.enrolment, as: .basic("token", token.text("token")))
            #expect(created.status == 201)
            #expect(try created.text("status") == "unverified")
            #expect(try created.json()["binding"]?["public_key"]?.stringValue == device.publicKey)
            #expect(try created.json()["options"] == .null)
            #expect(try created.json()["metadata"] == .object([("os", .string("iOS"))]))
            let phone = try device.enrolled(created)

            let wrong = try await producer.post(
                phone.factorPath, [("AuthPayload", try TestDevice().proof())],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(wrong.status == 403)
            #expect(try wrong.code() == 60311)
            let verified = try await producer.post(
                phone.factorPath, [("AuthPayload", try phone.proof())], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(verified.status == 200)
            #expect(try verified.text("status") == "verified")
            #expect(try verified.json()["binding"] == nil)

            let fresh = TestDevice().pushToken
            let updated = try await producer.post(
                phone.factorPath,
                [
                    ("FriendlyName", "Ann's phone"), ("Config.AppId", "com.example.bank"),
                    ("Config.SdkVersion", "3.0.3"), ("Config.NotificationPlatform", "apn"),
                    ("Config.NotificationToken", fresh.uppercased()),
                ], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(updated.status == 200)
            #expect(try updated.json()["config"]?["notification_token"]?.stringValue == fresh)
            #expect(try updated.json()["config"]?["credential_sid"]?.stringValue == phone.keyID)

            let none = try await producer.post(
                phone.factorPath, [("Config.NotificationPlatform", "none"), ("Config.NotificationsEnabled", "false")],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try none.json()["config"]?["notification_token"] == .null)
            #expect(try none.json()["config"]?["notifications_enabled"] == .boolean(false))

            let gone = try await producer.delete(phone.factorPath, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(gone.status == 204)
            #expect(gone.bytes.isEmpty)
            let after = try await producer.delete(phone.factorPath, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(after.status == 401)
            #expect(after.header("Date") != nil)
        }
    }

    @Test("a body as the iOS SDK writes it, with raw ; / = : and ', is read as it was meant")
    func iosForm() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let token = try await producer.post(
                "\(service)/AccessTokens", [("Identity", "user-0001"), ("FactorType", "push")], as: producer.backend)
            let device = TestDevice()
            let key = device.publicKey.replacingOccurrences(of: "+", with: "%2B")
            let body =
                "FriendlyName=Ann's%20%2B1%20=%20iPhone;%20%C3%A9/?&FactorType=push&Binding.Alg=ES256&Binding.PublicKey=\(key)"
                + "&Config.SdkVersion=3.0.2&Config.NotificationToken=\(device.pushToken)&Config.NotificationPlatform=apn"
                + "&Config.AppId=&Metadata=%7B%22os%22:%22iOS%22%7D"
            let answer = try await producer.send(
                "POST", "\(service)/Entities/user-0001/Factors", body: body, as: .basic("token", token.text("token")))
            #expect(answer.status == 201, "\(answer.text)")
            #expect(try answer.text("friendly_name") == "Ann's +1 = iPhone; é/?")
            #expect(try answer.json()["config"]?["app_id"]?.stringValue == "")
        }
    }

    @Test("an access token is good for its service, identity and time only; a malformed one is 401")
    func accessTokens() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let other = try await producer.makeService()
            let answer = try await producer.post(
                "\(service)/AccessTokens", [("Identity", "user-0001"), ("FactorType", "push")], as: producer.backend)
            let token = Authorization.basic("token", try answer.text("token"))
            func enrol(_ path: String, _ authorization: Authorization?) async throws -> HTTPAnswer {
                try await producer.post(path, TestDevice().enrolment, as: authorization)
            }
            for path in ["\(service)/Entities/user-0002/Factors", "\(other)/Entities/user-0001/Factors"] {
                let refused = try await enrol(path, token)
                #expect(refused.status == 403)
                #expect(try refused.code() == 60313)
            }
            let malformed = try await enrol("\(service)/Entities/user-0001/Factors", .basic("token", "nonsense"))
            #expect(malformed.status == 401)
            #expect(try malformed.code() == 20101)
            let invented = try await enrol(
                "\(service)/Entities/user-0001/Factors", .basic("token", "\(producer.account.sid).guessed"))
            #expect(try invented.code() == 60313)
            #expect(try await enrol("\(service)/Entities/user-0001/Factors", nil).status == 401)
            producer.clock.advance(.seconds(61))
            let late = try await enrol("\(service)/Entities/user-0001/Factors", token)
            #expect(try late.code() == 60313)
            #expect(producer.metrics.count(.authenticationFailures, [("kind", "access-token")]) == 5)
        }
    }

    @Test("what is wrong with a factor is said by parameter, before anything is made")
    func parameters() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let path = "\(service)/Entities/user-0001/Factors"
            func refused(_ name: String, _ value: String?, code: Int = 60200) async throws {
                var form = TestDevice().enrolment.filter { $0.0 != name }
                if let value { form.append((name, value)) }
                let answer = try await producer.post(path, form, as: producer.backend)
                #expect(answer.status == 400, "\(name) \(value ?? "absent")")
                #expect(try answer.code() == code)
                #expect(try answer.text("message").contains(name))
            }
            try await refused("FactorType", "passkeys")
            try await refused("FactorType", nil)
            try await refused("FriendlyName", nil)
            try await refused("FriendlyName", String(repeating: "a", count: 65))
            try await refused("Binding.Alg", "RS256")
            try await refused("Binding.PublicKey", "bm90IGEga2V5", code: 60314)
            try await refused("Binding.PublicKey", "?", code: 60314)
            let p384 = P384.Signing.PrivateKey().publicKey.derRepresentation.base64EncodedString()
            try await refused("Binding.PublicKey", p384, code: 60314)
            try await refused("Config.NotificationPlatform", "gcm")
            try await refused("Config.NotificationToken", nil)
            try await refused("Config.NotificationToken", "zz" + String(repeating: "0", count: 62))
            try await refused("Config.NotificationToken", "ab")
            try await refused("Config.AppId", nil)
            for environment in ["staging", "Sandbox", ""] { try await refused("Config.Environment", environment) }
            try await refused("Metadata", "[1]")
            try await refused("Metadata", #"{"a":1}"#)
            let page = try await producer.get(path, as: producer.backend)
            #expect(page.status == 404, "no entity was made by a refused factor")
        }
    }

    @Test(
        "platform and environment of a device are shown and pushed by: hms, sandbox, production, the credential's own")
    func platforms() async throws {
        try await ProducerHarness.run(ownBroker: [.receipts: 5]) { producer in
            let service = try await producer.makeService()
            let path = "\(service)/Entities/user-0001/Factors"
            let devices: [(Platform, String, String?, ProviderEnvironment)] = [
                (.hms, "hms", nil, .environmentUnspecified), (.apn, "apn", "sandbox", .sandbox),
                (.apn, "apn", "production", .production), (.apn, "apn", nil, .environmentUnspecified),
            ]
            var expected: [String: [Int]] = [:]
            for (platform, name, environment, pushed) in devices {
                let device = TestDevice()
                var form = device.enrolment.map { $0.0 == "Config.NotificationPlatform" ? ($0.0, name) : $0 }
                if let environment { form.append(("Config.Environment", environment)) }
                let created = try await producer.post(path, form, as: producer.backend)
                #expect(created.status == 201, "\(created.text)")
                #expect(try created.json()["config"]?["notification_platform"] == .string(name))
                let enrolled = try device.enrolled(created)
                let verified = try await producer.post(
                    enrolled.factorPath, [("AuthPayload", try enrolled.proof())],
                    as: enrolled.token(nowMs: producer.clock.nowMs))
                #expect(verified.status == 200)
                expected[enrolled.factor] = [platform.rawValue, pushed.rawValue]
            }
            _ = try await producer.drainOutbox()
            #expect(try await producer.createChallenge(service, "user-0001").status == 201)
            let row = try #require(try await producer.drainOutbox().first { $0.topic == .challenges })
            guard case .dispatch(let dispatch)? = try ChallengeRecord(value: row.value, contentType: nil).kind else {
                Issue.record("no dispatch")
                return
            }
            let targets = dispatch.targets.map { ($0.factorSid, [$0.platform.rawValue, $0.environment.rawValue]) }
            #expect(Dictionary(uniqueKeysWithValues: targets) == expected)
        }
    }

    @Test("the same key twice is 409, a duplicate entity is 409, the 21st factor is 400")
    func conflicts() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let path = "\(service)/Entities/user-0001/Factors"
            let device = TestDevice()
            #expect(try await producer.post(path, device.enrolment, as: producer.backend).status == 201)
            let twice = try await producer.post(path, device.enrolment, as: producer.backend)
            #expect(twice.status == 409)
            #expect(try twice.code() == 60317)
            let entity = try await producer.post(
                "\(service)/Entities", [("Identity", "USER-0001")], as: producer.backend)
            #expect(entity.status == 409)
            #expect(try entity.code() == 60301)
            for _ in 0..<19 {
                #expect(try await producer.post(path, TestDevice().enrolment, as: producer.backend).status == 201)
            }
            let full = try await producer.post(path, TestDevice().enrolment, as: producer.backend)
            #expect(full.status == 400)
            #expect(try full.code() == 60315)
            #expect(try full.text("message").contains("has 20 push factors"), "\(full.text)")
        }
    }
}
