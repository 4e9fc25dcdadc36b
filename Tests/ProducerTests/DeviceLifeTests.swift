import ChallengeModel
import Challenges
import Crypto
import Foundation
import KafkaClient
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Devices that come and go, over HTTP", .timeLimit(.minutes(10)))
struct DeviceLifeTests {
    private func service(_ producer: ProducerHarness, _ settings: [(String, String)] = []) async throws -> String {
        let answer = try await producer.post(
            "/v2/Services", [("FriendlyName", "Bank")] + settings, as: producer.backend)
        #expect(answer.status == 201, "\(answer.text)")
        return "/v2/Services/\(try answer.text("sid"))"
    }

    private func factors(_ producer: ProducerHarness, _ service: String) async throws -> [String] {
        try await producer.get("\(service)/Entities/user-0001/Factors?PageSize=100", as: producer.backend)
            .items("factors").compactMap { $0["sid"]?.stringValue }
    }

    /// Tells the server a provider's answer about a push of `challenge`.
    private func provider(
        _ producer: ProducerHarness, _ challenge: HTTPAnswer, _ phone: TestDevice, credential: String,
        _ change: @escaping (inout PushOutcome) -> Void
    ) async throws {
        let shown = try #require(
            try await producer.store.factor(keyID: phone.keyID), "the factor is there")
        try await OutcomeWriter.with(producer) { writer in
            try await writer.outcome(challenge, phone.factor, .tokenDead) {
                $0.credentialSid = credential
                $0.registeredAtMs = shown.registeredAtMs
                change(&$0)
            }
        }
    }

    /// The events of this type on the topic, once there are `count`.
    private func events(
        _ type: EventType, _ count: Int, _ producer: ProducerHarness
    ) async throws -> [CloudEvent] {
        let topic = producer.names[.events]
        return try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
            @Sendable func found() throws -> [CloudEvent] {
                try tail.records(of: topic).map { try CloudEvent(json: $0.value) }
                    .filter { $0.type == "beckon.\(type.rawValue)" }
            }
            try await becomesTrue("\(count) of \(type.rawValue)") { try found().count >= count }
            return try found()
        }
    }

    private static let credential = CredentialSID.generate(nowMs: 1).rawValue

    @Test("a 410 stops the pushes to that phone alone; it polls and answers, and a new push token starts them again")
    func deadToken() async throws {
        try await ProducerHarness.run { producer in
            let service = try await service(producer)
            let phone = try await producer.enroll("user-0001", service: service)
            let tablet = try await producer.enroll("user-0001", service: service)
            let first = try await producer.createChallenge(service, "user-0001")
            for _ in 0..<2 {
                try await provider(producer, first, phone, credential: Self.credential) {
                    $0.reason = "Unregistered"
                    $0.providerStatus = 410
                    $0.tokenDiedAtMs = $0.registeredAtMs + 1
                }
            }
            let unreachable = try await events(.factorUnreachable, 1, producer)
            #expect(unreachable.count == 1)
            #expect(unreachable.first?.data["factor_sid"] == .string(phone.factor))
            let shown = try await producer.get(phone.factorPath, as: producer.backend)
            #expect(try shown.json()["beckon"]?["unreachable_since"]?.stringValue != nil)
            let own = try await producer.get(phone.factorPath, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try own.json()["beckon"] == nil, "a device reads what it always read")

            let second = try await producer.createChallenge(service, "user-0001")
            let list = try await producer.get(
                "\(phone.challengesPath)?FactorSid=\(phone.factor)&Status=pending",
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try list.items("challenges").count == 2, "polling still works")
            let fresh = TestDevice().pushToken
            let updated = try await producer.post(
                phone.factorPath, [("Config.NotificationToken", fresh)], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(updated.status == 200)
            let after = try await producer.get(phone.factorPath, as: producer.backend)
            #expect(try after.json()["beckon"] == nil)
            let third = try await producer.createChallenge(service, "user-0001")

            let topic = producer.names[.challenges]
            let dispatches = try await TopicTail.following(
                [topic], kafka: producer.kafka, logger: ProducerHarness.logger
            ) { tail in
                @Sendable func found() throws -> [String: ChallengeDispatch] {
                    var found: [String: ChallengeDispatch] = [:]
                    for record in tail.records(of: topic) {
                        if case .dispatch(let dispatch) = try ChallengeRecord(value: record.value, contentType: nil)
                            .kind
                        {
                            found[dispatch.challengeSid] = dispatch
                        }
                    }
                    return found
                }
                try await becomesTrue("three dispatches") { try found().count == 3 }
                return try found()
            }
            func tokens(_ challenge: HTTPAnswer) throws -> [String: String] {
                let dispatch = try #require(dispatches[try challenge.text("sid")])
                return Dictionary(uniqueKeysWithValues: dispatch.targets.map { ($0.factorSid, $0.pushToken) })
            }
            #expect(try tokens(first) == [phone.factor: phone.pushToken, tablet.factor: tablet.pushToken])
            #expect(try tokens(second) == [phone.factor: "", tablet.factor: tablet.pushToken])
            #expect(try tokens(third) == [phone.factor: fresh, tablet.factor: tablet.pushToken])
        }
    }

    @Test("a phone whose token is dead goes when its service says: at once, after 30 days without a request, never")
    func unreachable() async throws {
        try await ProducerHarness.run { producer in
            var phones: [TestDevice] = []
            for policy in ["at-once", "after-30-days", "after-30-days", "never"] {
                let service = try await service(producer, [("Push.UnreachableFactors", policy)])
                let phone = try await producer.enroll("user-0001", service: service)
                let challenge = try await producer.createChallenge(service, "user-0001")
                try await provider(producer, challenge, phone, credential: Self.credential) {
                    $0.reason = "Unregistered"
                }
                phones.append(phone)
            }
            _ = try await events(.factorUnreachable, 4, producer)
            let devices = phones
            @Sendable func statuses() async throws -> [Int] {
                var statuses: [Int] = []
                for phone in devices {
                    statuses.append(try await producer.get(phone.factorPath, as: producer.backend).status)
                }
                return statuses
            }
            #expect(try await statuses() == [200, 200, 200, 200])
            producer.clock.advance(.seconds(31 * 60))
            try await becomesTrue("gone at once, when the brake's window has passed") {
                try await statuses() == [404, 200, 200, 200]
            }
            producer.clock.advance(.seconds(20 * 86_400))
            // One that polls stays for another 30 days.
            let polled = try await producer.get(
                devices[2].challengesPath, as: devices[2].token(nowMs: producer.clock.nowMs))
            #expect(polled.status == 200)
            producer.clock.advance(.seconds(11 * 86_400))
            try await becomesTrue("gone after 30 days") { try await statuses() == [404, 404, 200, 200] }
            producer.clock.advance(.seconds(20 * 86_400))
            try await becomesTrue("gone 30 days after its last request") {
                try await statuses() == [404, 404, 404, 200]
            }
        }
    }

    @Test("when all tokens of a credential die at once, nobody's pushes stop, nothing goes, and it is told once")
    func brake() async throws {
        try await ProducerHarness.run { producer in
            let service = try await service(producer, [("Push.UnreachableFactors", "at-once")])
            let created = try await producer.post(
                "/v1/Credentials",
                [
                    ("Type", "apn"), ("TeamId", "TEAM123456"), ("KeyId", "KEY1234567"),
                    ("PrivateKey", TestDevice().key.pemRepresentation),
                ], as: producer.backend)
            let credential = try created.text("sid")
            var people: [(phone: TestDevice, challenge: HTTPAnswer)] = []
            for index in 0..<15 {
                let identity = "person-\(1000 + index)"
                let phone = try await producer.enroll(identity, service: service)
                people.append((phone, try await producer.createChallenge(service, identity)))
            }
            // One of another credential, which is believed.
            let lone = try await producer.enroll("person-0001", service: service)
            let asked = try await producer.createChallenge(service, "person-0001")
            for person in people + [(lone, asked)] {
                let sender = person.phone.factor == lone.factor ? Self.credential : credential
                try await provider(producer, person.challenge, person.phone, credential: sender) {
                    $0.reason = "Unregistered"
                }
            }
            let told = try await events(.tokensDying, 1, producer)
            #expect(told.count == 1 && told.first?.subject == credential)
            try await becomesTrue("all has been read") {
                producer.metrics.count(.entranceRecords, [("entrance", "delivery"), ("result", "accepted")]) == 16
            }
            producer.clock.advance(.seconds(3600))
            // One sweep takes all that is due.
            try await becomesTrue("the sweep was there") {
                try await producer.get(lone.factorPath, as: producer.backend).status == 404
            }
            for person in people {
                let factor = try await producer.get(person.phone.factorPath, as: producer.backend)
                #expect(factor.status == 200)
                #expect(try factor.json()["beckon"] == nil, "pushed to as before")
            }
        }
    }

    @Test("a person has as many devices as the service says: one more is refused, or takes the oldest one's place")
    func room() async throws {
        try await ProducerHarness.run { producer in
            let strict = try await service(producer, [("Push.MaxFactors", "2")])
            let first = try await producer.enroll("user-0001", service: strict)
            let early = try await producer.enroll("user-0001", service: strict, isVerified: false)
            _ = try await producer.enroll("user-0001", service: strict)
            let refused = try await producer.post(
                "\(strict)/Entities/user-0001/Factors", TestDevice().enrolment, as: producer.backend)
            #expect(refused.status == 400)
            #expect(try refused.code() == 60315)
            #expect(try refused.text("message").contains("has 2 push factors"), "\(refused.text)")
            // Made while there was room, and not verified into it.
            let late = try await producer.post(
                early.factorPath, [("AuthPayload", try early.proof())], as: early.token(nowMs: producer.clock.nowMs))
            #expect(late.status == 400)
            #expect(try late.code() == 60315)
            #expect(try late.text("message").contains("has 2 push factors"), "\(late.text)")
            // The same phone after a re-install is none more.
            var again = TestDevice()
            let form = again.enrolment.map { $0.0 == "Config.NotificationToken" ? ($0.0, first.pushToken) : $0 }
            let enrolled = try await producer.post(
                "\(strict)/Entities/user-0001/Factors", form, as: producer.backend)
            #expect(enrolled.status == 201, "\(enrolled.text)")
            again = try again.enrolled(enrolled)
            let verified = try await producer.post(
                again.factorPath, [("AuthPayload", try again.proof())], as: again.token(nowMs: producer.clock.nowMs))
            #expect(verified.status == 200)
            #expect(try await !factors(producer, strict).contains(first.factor))

            let loose = try await service(
                producer, [("Push.MaxFactors", "2"), ("Push.WhenFull", "replace-oldest")])
            let oldest = try await producer.enroll("user-0001", service: loose)
            producer.clock.advance(.seconds(1))
            let second = try await producer.enroll("user-0001", service: loose)
            producer.clock.advance(.seconds(1))
            let third = try await producer.enroll("user-0001", service: loose, isVerified: false)
            #expect(try await factors(producer, loose).count == 3, "an unverified one takes no place")
            let done = try await producer.post(
                third.factorPath, [("AuthPayload", try third.proof())], as: third.token(nowMs: producer.clock.nowMs))
            #expect(done.status == 200)
            #expect(try await factors(producer, loose) == [second.factor, third.factor])
            let gone = try await events(.factorDeleted, 2, producer)
            #expect(Set(gone.map { $0.data["factor_sid"] }) == [.string(first.factor), .string(oldest.factor)])
            #expect(gone.map { $0.data["reason"] } == ["replaced", "replaced"])
            let told = try await events(.factorVerified, 6, producer)
            let others = told.compactMap {
                if case .integer(let count) = $0.data["other_factors"] { count } else { nil }
            }
            #expect(others.sorted() == [0, 0, 1, 1, 1, 1])
        }
    }

    @Test("an access token makes three unverified factors and none after one is verified")
    func accessToken() async throws {
        try await ProducerHarness.run { producer in
            let service = try await service(producer)
            @Sendable func mint() async throws -> Authorization {
                let answer = try await producer.post(
                    "\(service)/AccessTokens", [("Identity", "user-0001"), ("FactorType", "push")],
                    as: producer.backend)
                return .basic("token", try answer.text("token"))
            }
            let path = "\(service)/Entities/user-0001/Factors"
            let token = try await mint()
            for _ in 0..<3 {
                #expect(try await producer.post(path, TestDevice().enrolment, as: token).status == 201)
            }
            let fourth = try await producer.post(path, TestDevice().enrolment, as: token)
            #expect(fourth.status == 403)
            #expect(try fourth.code() == 60313)

            let other = try await mint()
            // A reply that was lost, and the try again.
            _ = try await producer.post(path, TestDevice().enrolment, as: other)
            let device = TestDevice()
            let phone = try device.enrolled(try await producer.post(path, device.enrolment, as: other))
            let verified = try await producer.post(
                phone.factorPath, [("AuthPayload", try phone.proof())], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(verified.status == 200)
            let spent = try await producer.post(path, TestDevice().enrolment, as: other)
            #expect(spent.status == 403)
            #expect(try spent.code() == 60313)
            #expect(try await factors(producer, service).count == 4, "three of the first token, one of the second")
        }
    }

    @Test("notifications off are told once per change: on the factor, and beside a receipt of the device itself")
    func notificationsOff() async throws {
        try await ProducerHarness.run { producer in
            let service = try await service(producer)
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001")
            let receipts = "\(phone.challengesPath)/\(try created.text("sid"))/Receipts"
            func tell(_ path: String, _ isEnabled: String, _ more: [(String, String)] = []) async throws {
                let answer = try await producer.post(
                    path, [("Config.NotificationsEnabled", isEnabled)] + more,
                    as: phone.token(nowMs: producer.clock.nowMs, payload: ["jti": UUID().uuidString]))
                #expect((200..<300).contains(answer.status), "\(answer.text)")
            }
            func shown() async throws -> JSONValue? {
                try await producer.get(phone.factorPath, as: producer.backend).json()["config"]?[
                    "notifications_enabled"]
            }
            try await tell(receipts, "false", [("Channel", "background"), ("Shown", "no")])
            #expect(try await shown() == .boolean(false))
            try await tell(receipts, "false", [("Channel", "poll"), ("Shown", "no")])
            try await tell(phone.factorPath, "false")
            try await tell(phone.factorPath, "true")
            #expect(try await shown() == .boolean(true))
            try await tell(phone.factorPath, "false")
            let bad = try await producer.post(
                receipts, [("Config.NotificationsEnabled", "off")], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(bad.status == 400)
            // Whoever holds a push's token says "received" and nothing else.
            let token = ReceiptToken(
                account: producer.account.sid, service: try #require(ServiceSID(try created.text("service_sid"))),
                challenge: try #require(ChallengeSID(try created.text("sid"))),
                factor: try #require(FactorSID(phone.factor)), dispatch: .creation,
                expiresAtMs: producer.clock.nowMs + 300_000
            ).sealed(with: producer.keys)
            let byToken = try await producer.post(
                "/v2/Receipts", [("ReceiptToken", token), ("Config.NotificationsEnabled", "true")])
            #expect(byToken.status == 204)
            #expect(byToken.header("Beckon-Ignored") == "Config.NotificationsEnabled")
            #expect(try await shown() == .boolean(false))
            // A marker behind them all.
            _ = try await producer.delete(phone.factorPath, as: producer.backend)
            _ = try await events(.factorDeleted, 1, producer)
            let told = try await events(.factorNotificationsDisabled, 2, producer)
            #expect(told.count == 2)
            #expect(Set(told.map(\.id)).count == 2)
        }
    }

    @Test("a credential of which no token is known to the provider is told once, not once per push")
    func credentialFailed() async throws {
        try await ProducerHarness.run { producer in
            let service = try await service(producer)
            let created = try await producer.post(
                "/v1/Credentials",
                [
                    ("Type", "apn"), ("TeamId", "TEAM123456"), ("KeyId", "KEY1234567"),
                    ("PrivateKey", TestDevice().key.pemRepresentation),
                ], as: producer.backend)
            let credential = try created.text("sid")
            let phone = try await producer.enroll("user-0001", service: service)
            let challenge = try await producer.createChallenge(service, "user-0001")
            try await OutcomeWriter.with(producer) { writer in
                for number in 0..<30 {
                    try await writer.outcome(challenge, phone.factor, .rejected) {
                        $0.dispatchID = "t\(number + 1)"
                        $0.reason = "BadDeviceToken"
                        $0.credentialSid = credential
                    }
                }
            }
            try await becomesTrue("all has been read") {
                producer.metrics.count(.entranceRecords, [("entrance", "delivery"), ("result", "accepted")]) == 30
            }
            _ = try await producer.delete(phone.factorPath, as: producer.backend)
            _ = try await events(.factorDeleted, 1, producer)
            let told = try await events(.credentialFailed, 1, producer)
            #expect(told.count == 1)
            #expect(told.first?.data["credential_sid"] == .string(credential))
            #expect(told.first?.data["reason"] == "BadDeviceToken")
        }
    }
}
