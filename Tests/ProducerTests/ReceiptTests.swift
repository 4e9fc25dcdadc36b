import ChallengeModel
import Challenges
import Crypto
import Foundation
import KafkaClient
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Receipts and polls", .timeLimit(.minutes(5)))
struct ReceiptTests {
    /// The receipts that the outbox holds or the topic has, once there are `count`.
    private func receipts(_ count: Int, _ producer: ProducerHarness) async throws -> [Receipt] {
        let topic = producer.names[.receipts]
        return try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
            try await becomesTrue("\(count) receipts on the topic") { tail.count(of: topic) >= count }
            return try tail.records(of: topic).map {
                try Receipt(value: $0.value, contentType: ContentType.protobuf.rawValue)
            }
        }
    }

    @Test("a receipt token is redeemed any number of times; every bad one gets the same 401")
    func tokens() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let token = ReceiptToken(
                account: producer.account.sid, service: try #require(ServiceSID(try created.text("service_sid"))),
                challenge: try #require(ChallengeSID(try created.text("sid"))),
                factor: try #require(FactorSID(phone.factor)), dispatch: .attempt(2),
                expiresAtMs: producer.clock.nowMs + 300_000)
            let good = token.sealed(with: producer.keys)
            let form = [
                ("ReceiptToken", good), ("Channel", "background"), ("Shown", "no"), ("DeviceTime", "1700000000123"),
            ]
            for _ in 0..<20 {
                let answer = try await producer.post("/v2/Receipts", form)
                #expect(answer.status == 204)
                #expect(answer.bytes.isEmpty)
            }
            // What says nothing new fills no outbox; what says more is told.
            let shown = form.map { $0.0 == "Shown" ? ("Shown", "yes") : $0 }
            #expect(try await producer.post("/v2/Receipts", shown).status == 204)
            #expect(producer.metrics.count(.receipts, [("source", "token")]) == 21)
            #expect(
                try await producer.post("/v2/Receipts", [("ReceiptToken", good), ("Shown", "maybe")]).status == 400)
            var bodies: Set<String> = []
            let bad = [
                "", "x", String(good.dropLast(4)) + (good.hasSuffix("AAAA") ? "BBBB" : "AAAA"),
                token.sealed(with: .random()),
                String(repeating: "A", count: 500),
            ]
            for text in bad {
                let answer = try await producer.post("/v2/Receipts", [("ReceiptToken", text)])
                #expect(answer.status == 401, "\(text)")
                bodies.insert(answer.text)
            }
            bodies.insert(try await producer.post("/v2/Receipts").text)
            producer.clock.advance(.seconds(361))
            bodies.insert(try await producer.post("/v2/Receipts", form).text)
            #expect(bodies.count == 1, "\(bodies)")

            let written = try await receipts(2, producer)
            #expect(written.map(\.shown) == [.no, .yes])
            for receipt in written {
                #expect(receipt.challengeSid == token.challenge.rawValue)
                #expect(receipt.factorSid == phone.factor)
                #expect(receipt.dispatchID == "t2")
                #expect(receipt.channel == .backgroundPush)
                #expect(receipt.deviceTimeMs == 1_700_000_000_123)
                #expect(receipt.receiptToken.isEmpty)
            }
        }
    }

    @Test("a device confirms its own challenge; another device and a backend do not")
    func device() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let other = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))/Receipts"
            let answer = try await producer.post(
                path, [("Channel", "visible"), ("Shown", "yes")], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answer.status == 204)
            #expect(try await producer.post(path, as: other.token(nowMs: producer.clock.nowMs)).status == 404)
            #expect(try await producer.post(path, as: producer.backend).status == 403)
            #expect(try await producer.post(path).status == 401)
            let receipt = try #require(try await receipts(1, producer).first)
            #expect(receipt.channel == .visiblePush)
            #expect(receipt.shown == .yes)
            #expect(receipt.factorSid == phone.factor)
        }
    }

    @Test("a device that lists or reads what is pending has received it, once; a backend's reading is none")
    func poll() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            #expect(try await producer.get(path, as: producer.backend).status == 200)
            #expect(try await producer.get(phone.challengesPath, as: producer.backend).status == 200)
            let list = try await producer.get(
                "\(phone.challengesPath)?FactorSid=\(phone.factor)&PageSize=10&Status=pending",
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try list.items("challenges").count == 1)
            #expect(try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs)).status == 200)
            // The marker comes after whatever the reads wrote, so that what is not there then never comes.
            let marker = try await producer.post("\(path)/Receipts", as: phone.token(nowMs: producer.clock.nowMs))
            #expect(marker.status == 204)
            let written = try await receipts(2, producer)
            #expect(written.map(\.channel) == [.poll, .visiblePush])
            #expect(written[0].shown == .unknown)
        }
    }

    @Test("a device that asks for another factor's challenges is refused")
    func otherFactor() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let other = try await producer.enroll("user-0001", service: service)
            let answer = try await producer.get(
                "\(phone.challengesPath)?FactorSid=\(other.factor)", as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answer.status == 403)
            #expect(try answer.code() == 20006)
        }
    }
}

@Suite("Provider credentials", .timeLimit(.minutes(5)))
struct CredentialTests {
    @Test("an APNs key is made, set on a service, shown without its secret, and deleted")
    func apns() async throws {
        try await ProducerHarness.run { producer in
            let key = P256.Signing.PrivateKey().pemRepresentation
            let form = [
                ("FriendlyName", "bank apns"), ("Type", "apn"), ("TeamId", "ABCDE12345"), ("KeyId", "KEY1234567"),
                ("PrivateKey", key), ("Sandbox", "True"),
            ]
            let created = try await producer.post("/v1/Credentials", form, as: producer.backend)
            #expect(created.status == 201, "\(created.text)")
            #expect(try created.text("sandbox") == "True")
            #expect(!created.text.contains("PRIVATE"))
            let sid = try created.text("sid")
            let service = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank"), ("Push.ApnCredentialSid", sid)], as: producer.backend)
            #expect(try service.json()["push"]?["apn_credential_sid"]?.stringValue == sid)
            let mixed = try await producer.post(
                "/v2/Services", [("FriendlyName", "Bank"), ("Push.FcmCredentialSid", sid)], as: producer.backend)
            #expect(mixed.status == 400)
            let list = try await producer.get("/v1/Credentials", as: producer.backend)
            #expect(try list.items("credentials").count == 1)
            #expect(try await producer.get("/v1/Credentials/\(sid)", as: producer.backend).status == 200)
            #expect(try await producer.delete("/v1/Credentials/\(sid)", as: producer.backend).status == 204)
            #expect(try await producer.get("/v1/Credentials/\(sid)", as: producer.backend).status == 404)
            for (name, value) in [
                ("TeamId", "abc"), ("KeyId", ""), ("PrivateKey", "-----BEGIN CERTIFICATE-----"), ("Type", "gcm"),
            ] {
                let bad = form.filter { $0.0 != name } + [(name, value)]
                let answer = try await producer.post("/v1/Credentials", bad, as: producer.backend)
                #expect(answer.status == 400)
                #expect(try answer.text("message").contains(name))
                #expect(!answer.text.contains("PRIVATE KEY-----\n"), "no secret in an error")
            }
        }
    }

    @Test("a Google key file is taken whole, and refused by what is missing in it")
    func fcm() async throws {
        try await ProducerHarness.run { producer in
            func file(without name: String? = nil) -> String {
                let members: [(name: String, value: JSONValue)] = [
                    ("type", .string("service_account")), ("project_id", .string("bank")),
                    ("private_key_id", .string("1")), ("client_email", .string("push@bank.example")),
                    ("private_key", .string("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
                ]
                return JSONValue.object(members.filter { $0.name != name }).text
            }
            let created = try await producer.post(
                "/v1/Credentials", [("Type", "fcm"), ("ServiceAccount", file())], as: producer.backend)
            #expect(created.status == 201, "\(created.text)")
            #expect(try created.text("type") == "fcm")
            for name in ["type", "project_id", "client_email", "private_key", "private_key_id"] {
                let answer = try await producer.post(
                    "/v1/Credentials", [("Type", "fcm"), ("ServiceAccount", file(without: name))], as: producer.backend)
                #expect(answer.status == 400)
                #expect(try answer.text("message").contains(name == "type" ? "service_account" : name))
            }
        }
    }
}
