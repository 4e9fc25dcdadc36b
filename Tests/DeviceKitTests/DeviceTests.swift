import Crypto
import Foundation
import HTTPTypes
import Synchronization
import Testing

@testable import DeviceKit

private let factorSID = "YF03" + String(repeating: "b", count: 30)
private let challengeSID = "YC03" + String(repeating: "a", count: 30)
private let fieldsHeader = HTTPField.Name("Twilio-Verify-Signature-Fields")!

private func factorJSON(status: String = "unverified") -> String {
    #"{"sid":"\#(factorSID)","account_sid":"AC22","status":"\#(status)","config":{"credential_sid":"CR99"},"x":null}"#
}

private func challengeJSON(_ status: String, factor: String = factorSID, sid: String = challengeSID) -> String {
    #"{"sid":"\#(sid)","factor_sid":"\#(factor)","identity":"user-0001","status":"\#(status)","date_created":"2026-01-01T00:00:00Z","#
        + #""expiration_date":"2026-01-01T00:05:00Z","details":{"message":"Log in \/ é?","fields":[{"label":"IP","value":"1"}]},"hidden_details":{"k":"v"}}"#
}

private func refusal(_ status: Int, _ code: Int) -> ServerReply {
    ServerReply(status: status, body: #"{"code":\#(code),"message":"no","more_info":"","status":\#(status)}"#)
}

private func enrolment(token: String? = "abab", platform: PushPlatform = .apn) -> Enrolment {
    Enrolment(
        serviceSID: "VA11", identity: "user-0001", friendlyName: "Ann's +1 = é", appID: "dev.app", platform: platform,
        pushToken: token, metadata: ["os": "iOS"])
}

private let registration = DeviceRegistration(
    factorSID: factorSID, accountSID: "AC22", serviceSID: "VA11", identity: "user-0001", keyID: "CR99",
    friendlyName: "Ann", appID: "dev.app", platform: .apn, pushToken: "abab", isVerified: true)

/// A server, a device on it, and what the server saw.
private func withDevice(
    key: SoftwareKey = SoftwareKey(), deadline: Duration = .seconds(5), nowMs: Int64 = 1_767_225_600_000,
    answer: @escaping @Sendable (Int, SeenRequest) -> ServerReply,
    body: @escaping @Sendable (Device, TinyServer.Requests) async throws -> Void
) async throws {
    try await TinyServer.run(answer: answer) { url, transport, requests in
        let client = DeviceClient(
            apiURL: url + "/", transport: transport, deadline: deadline, sdkVersion: "3.0.2", nowMs: { nowMs })
        try await body(client.device(registration, signer: key), requests)
    }
}

@Suite("What a device sends", .timeLimit(.minutes(1)))
struct DeviceTests {
    private static let base = "/v2/Services/VA11/Entities/user-0001"

    @Test("registering sends the SDK's form, in its order, with the access token, and never twice")
    func register() async throws {
        try await TinyServer.run { number, _ in
            number == 0 ? ServerReply(status: 201, body: factorJSON()) : refusal(401, 20101)
        } body: { url, transport, requests in
            let client = DeviceClient(apiURL: url, transport: transport, sdkVersion: "3.0.2")
            let key = SoftwareKey()
            let device = try await client.register(accessToken: "the.access-token", enrolment: enrolment(), signer: key)
            let request = requests.all[0]
            #expect(request.method == "POST" && request.target == Self.base + "/Factors")
            #expect(request.password == "the.access-token")
            #expect(request.headers[.contentType] == "application/x-www-form-urlencoded")
            #expect(
                request.form.map(\.name) == [
                    "FriendlyName", "FactorType", "Binding.Alg", "Binding.PublicKey", "Config.SdkVersion",
                    "Config.NotificationToken", "Config.NotificationPlatform", "Config.AppId", "Metadata",
                ])
            #expect(
                request.form.map(\.value) == [
                    "Ann's +1 = é", "push", "ES256", Data(key.publicKeyDER).base64EncodedString(), "3.0.2", "abab",
                    "apn",
                    "dev.app", #"{"os":"iOS"}"#,
                ])
            #expect(device.registration.keyID == "CR99" && device.registration.factorSID == factorSID)
            #expect(!device.registration.isVerified)
            let copy = try JSONDecoder().decode(
                DeviceRegistration.self, from: JSONEncoder().encode(device.registration))
            #expect(copy == device.registration)

            await #expect(throws: DeviceError.refused(ServerRefusal(status: 401, code: 20101, message: "no"))) {
                try await client.register(accessToken: "old", enrolment: enrolment(), signer: key)
            }
            #expect(requests.all.count == 2, "no second try with an access token")
        }
    }

    @Test("without a push token the platform is none")
    func registerWithoutToken() async throws {
        try await TinyServer.run { _, _ in
            ServerReply(status: 201, body: factorJSON())
        } body: { url, transport, requests in
            let client = DeviceClient(apiURL: url, transport: transport)
            let device = try await client.register(
                accessToken: "a", enrolment: enrolment(token: nil), signer: SoftwareKey())
            #expect(requests.all[0].field("Config.NotificationPlatform") == "none")
            #expect(requests.all[0].field("Config.NotificationToken") == nil)
            #expect(device.registration.platform == .none)
        }
    }

    @Test("a factor without credential_sid is an error that names it")
    func malformedFactor() async throws {
        try await TinyServer.run { _, _ in
            ServerReply(status: 201, body: #"{"sid":"YF1","account_sid":"AC1","status":"unverified","config":{}}"#)
        } body: { url, transport, _ in
            await #expect(
                throws: DeviceError.malformedReply("the factor has no config.credential_sid, which must be a string")
            ) {
                try await DeviceClient(apiURL: url, transport: transport).register(
                    accessToken: "a", enrolment: enrolment(), signer: SoftwareKey())
            }
        }
    }

    @Test("verifying signs the factor's SID, as DER in base64")
    func verify() async throws {
        let key = SoftwareKey()
        try await withDevice(key: key) { _, _ in
            ServerReply(body: factorJSON(status: "verified"))
        } body: { device, requests in
            try await device.verify()
            let request = requests.all[0]
            #expect(request.method == "POST" && request.target == Self.base + "/Factors/" + factorSID)
            #expect(request.form.map(\.name) == ["AuthPayload"])
            let der = try #require(Data(base64Encoded: request.field("AuthPayload") ?? ""))
            let publicKey = try P256.Signing.PublicKey(derRepresentation: Data(key.publicKeyDER))
            #expect(
                publicKey.isValidSignature(
                    try P256.Signing.ECDSASignature(derRepresentation: der), for: Data(factorSID.utf8)))
            let token = try #require(request.password)
            #expect(try DeviceJWTTests.isSigned(token, by: key))
            let (head, payload) = try DeviceJWTTests.texts(token)
            #expect(head.contains(#""kid":"CR99""#) && payload.contains(#""nbf":1767225600"#))
        }
    }

    @Test("a 401 with a Date corrects the clock, and the call is made once more")
    func clockSkew() async throws {
        try await withDevice { number, _ in
            number == 0 ? refusal(401, 20104) : ServerReply(body: challengeJSON("pending"))
        } body: { device, requests in
            _ = try await device.challenge(challengeSID)
            #expect(requests.all.count == 2)
            let payloads = try requests.all.map { try DeviceJWTTests.texts(try #require($0.password)).payload }
            #expect(payloads[0].contains(#""nbf":1767225600"#))
            // The server's Date is the real time, the device's clock stands at the beginning of 2026.
            let second = try JSONTree(parsing: Array(payloads[1].utf8))
            let notBefore = try #require(second["nbf"]?.integerValue)
            #expect(abs(notBefore - DeviceClient.systemClockMs() / 1000) <= 5)
            #expect(second["exp"]?.integerValue == notBefore + 600)
            #expect(device.clockCorrectionMs == notBefore * 1000 - 1_767_225_600_000)
            _ = try await device.challenge(challengeSID)
            #expect(requests.all.count == 3, "the correction is kept")
        }
    }

    @Test("a second 401 is the answer")
    func refusedTwice() async throws {
        try await withDevice { _, _ in
            refusal(401, 20107)
        } body: { device, requests in
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 401, code: 20107, message: "no"))) {
                try await device.challenge(challengeSID)
            }
            // Hummingbird sends a Date with every answer.
            #expect(requests.all.count == 2)
        }
    }

    @Test("deleting takes 404 and a repeated 401 for success, and nothing else", arguments: [204, 404, 401, 403, 500])
    func delete(status: Int) async throws {
        try await withDevice { _, _ in
            status == 204 ? ServerReply(status: 204) : refusal(status, 1)
        } body: { device, requests in
            if [204, 404, 401].contains(status) {
                try await device.deleteFactor()
            } else {
                await #expect(throws: DeviceError.self) { try await device.deleteFactor() }
            }
            #expect(requests.all[0].method == "DELETE" && requests.all[0].target == Self.base + "/Factors/" + factorSID)
        }
    }

    @Test("a new push token is told with name, app and version, and remembered")
    func pushToken() async throws {
        try await withDevice { _, _ in
            ServerReply(body: factorJSON(status: "verified"))
        } body: { device, requests in
            try await device.updatePushToken("cdcd", notificationsEnabled: false)
            #expect(
                requests.all[0].form.map { "\($0.name)=\($0.value)" } == [
                    "FriendlyName=Ann", "Config.AppId=dev.app", "Config.SdkVersion=3.0.2",
                    "Config.NotificationPlatform=apn", "Config.NotificationToken=cdcd",
                    "Config.NotificationsEnabled=false",
                ])
            #expect(device.registration.pushToken == "cdcd")
            try await device.updatePushToken(nil)
            #expect(requests.all[1].field("Config.NotificationPlatform") == "none")
            #expect(requests.all[1].field("Config.NotificationToken") == nil)
            #expect(device.registration.platform == .none)
        }
    }

    @Test("listing follows the pages and keeps each challenge's own bytes")
    func listing() async throws {
        let second = "YC03" + String(repeating: "c", count: 30)
        try await withDevice { number, _ in
            let next = number == 0 ? #""http://elsewhere/x?Page=1&PageToken=DN%2F1""# : "null"
            let sid = number == 0 ? challengeSID : second
            return ServerReply(
                body:
                    #"{"meta":{"page":0,"page_size":1,"next_page_url":\#(next)},"challenges": [ \#(challengeJSON("pending", sid: sid)) ]}"#
            )
        } body: { device, requests in
            let challenges = try await device.pendingChallenges(pageSize: 1)
            #expect(challenges.map(\.sid) == [challengeSID, second])
            #expect(challenges[0].json == Array(challengeJSON("pending").utf8))
            #expect(challenges[0].message == "Log in / é?" && challenges[0].fields.first?.label == "IP")
            #expect(challenges[0].hiddenDetails == ["k": "v"] && challenges[0].expiresAtMs == 1_767_225_900_000)
            #expect(
                requests.all[0].target
                    == Self.base + "/Challenges?FactorSid=\(factorSID)&PageSize=1&Order=asc&Status=pending")
            #expect(requests.all[1].target.hasSuffix("&PageToken=DN%2F1"))
            #expect(requests.all[0].headers[.accept] == "application/x-www-form-urlencoded")
        }
    }
}

@Suite("A device's answers", .timeLimit(.minutes(1)))
struct DeviceAnswerTests {
    /// GET answers by `statuses` in turn, POST by `post`.
    private static func server(
        statuses: [String], post: ServerReply = ServerReply(body: "{}"), fields: String? = "sid,details"
    ) -> @Sendable (Int, SeenRequest) -> ServerReply {
        let gets = Mutex(0)
        return { _, request in
            guard request.method == "GET" else { return post }
            let index = gets.withLock {
                $0 += 1
                return $0 - 1
            }
            var reply = ServerReply(body: challengeJSON(statuses[min(index, statuses.count - 1)]))
            reply.headers[fieldsHeader] = fields
            return reply
        }
    }

    @Test(
        "an answer is fetched, signed over the advertised fields, posted alone, and read back",
        arguments: [true, false])
    func answer(approved: Bool) async throws {
        let key = SoftwareKey()
        let word = approved ? "approved" : "denied"
        try await withDevice(key: key, answer: Self.server(statuses: ["pending", word])) { device, requests in
            let challenge = try await device.challenge(challengeSID)
            let after = try await device.answer(challenge, approved: approved)
            #expect(after.status.rawValue == word)
            #expect(requests.all.map(\.method) == ["GET", "POST", "GET"])
            let post = requests.all[1]
            #expect(post.form.map(\.name) == ["AuthPayload"])
            let token = try #require(post.field("AuthPayload"))
            #expect(try DeviceJWTTests.isSigned(token, by: key))
            #expect(
                try DeviceJWTTests.texts(token).payload
                    == #"{"sid":"\#(challengeSID)","details":{"message":"Log in \/ é?","fields":[{"label":"IP","value":"1"}]},"status":"\#(word)"}"#
            )
        }
    }

    @Test("what may not be answered is not sent")
    func notSent() async throws {
        try await withDevice(answer: Self.server(statuses: ["expired"])) { device, requests in
            let expired = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.notPending(.expired)) { try await device.answer(expired, approved: true) }
            let other = try DeviceChallenge(
                json: Array(challengeJSON("pending", factor: "YF03" + String(repeating: "0", count: 30)).utf8),
                signatureFields: "sid")
            await #expect(throws: DeviceError.otherFactor) { try await device.answer(other, approved: true) }
            #expect(requests.all.allSatisfy { $0.method == "GET" })
        }
        try await withDevice(answer: Self.server(statuses: ["pending"], fields: nil)) { device, requests in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.missingSignatureFields) {
                try await device.answer(challenge, approved: true)
            }
            #expect(requests.all.allSatisfy { $0.method == "GET" })
        }
    }

    @Test("an answer whose reply was lost is no error when the challenge says that it arrived")
    func lostReply() async throws {
        let busy = refusal(503, 20503)
        try await withDevice(answer: Self.server(statuses: ["pending", "approved"], post: busy)) { device, _ in
            let after = try await device.answer(try await device.challenge(challengeSID), approved: true)
            #expect(after.status == .approved)
        }
        try await withDevice(answer: Self.server(statuses: ["pending"], post: busy)) { device, _ in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 503, code: 20503, message: "no"))) {
                try await device.answer(challenge, approved: true)
            }
        }
    }

    @Test("a challenge that reads otherwise afterwards is an error")
    func notApplied() async throws {
        try await withDevice(answer: Self.server(statuses: ["pending", "denied"])) { device, _ in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.notApplied(.denied)) {
                try await device.answer(challenge, approved: true)
            }
        }
    }

    @Test("a refused signature is the server's word, with its code")
    func refused() async throws {
        try await withDevice(answer: Self.server(statuses: ["pending"], post: refusal(403, 60324))) { device, _ in
            let challenge = try await device.challenge(challengeSID)
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 403, code: 60324, message: "no"))) {
                try await device.answer(challenge, approved: true)
            }
        }
    }

    @Test("a receipt by token needs no key, and is sent again when the server is busy")
    func receiptToken() async throws {
        try await withDevice { number, _ in
            number == 0 ? refusal(503, 20503) : ServerReply(status: 204)
        } body: { device, requests in
            try await device.client.confirm(receiptToken: "r+1", channel: .visible, shown: .yes)
            #expect(requests.all.count == 2)
            #expect(requests.all[1].target == "/v2/Receipts" && requests.all[1].authorization == nil)
            #expect(
                requests.all[1].form.map { "\($0.name)=\($0.value)" } == [
                    "ReceiptToken=r+1", "Channel=visible", "Shown=yes", "DeviceTime=1767225600000",
                ])
        }
    }

    @Test("a receipt that is refused is not sent again")
    func receiptRefused() async throws {
        try await withDevice { _, _ in
            refusal(401, 20003)
        } body: { device, requests in
            await #expect(throws: DeviceError.refused(ServerRefusal(status: 401, code: 20003, message: "no"))) {
                try await device.confirm(receiptToken: "r", channel: .background, shown: .no)
            }
            #expect(requests.all.count == 1)
        }
    }

    @Test("a receipt by challenge goes to the challenge with the device's token")
    func receiptChallenge() async throws {
        try await withDevice { _, _ in
            ServerReply(status: 204)
        } body: { device, requests in
            try await device.confirm(challenge: challengeSID, channel: .background, shown: .unknown)
            #expect(
                requests.all[0].target
                    == "/v2/Services/VA11/Entities/user-0001/Challenges/\(challengeSID)/Receipts")
            #expect(requests.all[0].password != nil && requests.all[0].field("Shown") == "unknown")
        }
    }

    @Test("a server that does not answer costs the deadline and no more")
    func deadline() async throws {
        try await withDevice(deadline: .milliseconds(200)) { _, _ in
            ServerReply(delay: .seconds(30))
        } body: { device, _ in
            let clock = ContinuousClock()
            let start = clock.now
            await #expect(throws: DeviceError.deadlineExceeded) { try await device.challenge(challengeSID) }
            #expect(clock.now - start < .seconds(5))
        }
    }

    @Test("a port that nobody listens on is unreachable")
    func unreachable() async throws {
        try await TinyServer.run { _, _ in
            ServerReply()
        } body: { _, transport, _ in
            let client = DeviceClient(apiURL: "http://127.0.0.1:1", transport: transport, deadline: .seconds(5))
            await #expect {
                try await client.device(registration, signer: SoftwareKey()).challenge(challengeSID)
            } throws: { error in
                (error as? DeviceError)?.isTransient == true
            }
        }
    }

    @Test(
        "a challenge that is not of its form is an error that names the field",
        arguments: [
            (#"{"sid":"1"}"#, "factor_sid"), ("[]", "object"),
            (challengeJSON("paused"), "status"),
            (
                challengeJSON("pending").replacingOccurrences(of: "2026-01-01T00:05:00Z", with: "soon"),
                "expiration_date"
            ),
            (challengeJSON("pending").replacingOccurrences(of: #"{"k":"v"}"#, with: #"{"k":1}"#), "hidden_details.k"),
        ])
    func malformed(json: String, field: String) {
        #expect {
            try DeviceChallenge(json: Array(json.utf8), signatureFields: nil)
        } throws: { error in
            guard case .malformedReply(let reason)? = error as? DeviceError else { return false }
            return reason.contains(field)
        }
    }
}
