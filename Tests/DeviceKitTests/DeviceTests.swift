import Crypto
import Foundation
import HTTPTypes
import Testing
import Wire

@testable import DeviceKit

@Suite("What a device sends", .timeLimit(.minutes(5)))
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
            let second = try JSONParser.parse(Array(payloads[1].utf8), .reply)
            let notBefore = try #require(second["nbf"]?.integerValue)
            #expect(abs(notBefore - DeviceClient.systemClockMs() / 1000) <= 60)
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

    @Test("notifications off are told alone, or beside a receipt of the device's own")
    func notifications() async throws {
        try await withDevice { _, request in
            request.target.hasSuffix("/Receipts")
                ? ServerReply(status: 204) : ServerReply(body: factorJSON(status: "verified"))
        } body: { device, requests in
            try await device.reportNotifications(enabled: false)
            #expect(requests.all[0].target == Self.base + "/Factors/" + factorSID)
            #expect(requests.all[0].form.map { "\($0.name)=\($0.value)" } == ["Config.NotificationsEnabled=false"])
            try await device.confirm(
                challenge: challengeSID, channel: .background, shown: .no, notificationsEnabled: false)
            #expect(requests.all[1].target == Self.base + "/Challenges/" + challengeSID + "/Receipts")
            #expect(requests.all[1].field("Config.NotificationsEnabled") == "false")
            try await device.confirm(challenge: challengeSID, channel: .poll, shown: .unknown)
            #expect(requests.all[2].field("Config.NotificationsEnabled") == nil)
        }
    }

    @Test("waiting hands the tag on, and is over with a change, without one, or with a refusal")
    func waiting() async throws {
        try await withDevice { number, _ in
            switch number {
            case 0: ServerReply(headers: [.eTag: "\"a\""], body: challengeJSON("pending"))
            case 1: ServerReply(status: 304, headers: [.eTag: "\"a\""])
            case 2: ServerReply(headers: [.eTag: "\"b\""], body: challengeJSON("expired"))
            case 3: ServerReply(body: challengeJSON("pending"))
            default: refusal(404, 20404)
            }
        } body: { device, requests in
            let first = try #require(try await device.challenge(challengeSID, after: nil))
            #expect(first.challenge.status == .pending && first.tag == "\"a\"")
            #expect(requests.all[0].target == Self.base + "/Challenges/" + challengeSID + "?Wait=0")
            #expect(requests.all[0].headers[.ifNoneMatch] == nil)
            #expect(try await device.challenge(challengeSID, after: first, waitSeconds: 99) == nil)
            #expect(requests.all[1].target.hasSuffix("?Wait=30"))
            #expect(requests.all[1].headers[.ifNoneMatch] == "\"a\"")
            let last = try await device.challenge(challengeSID, after: first)
            #expect(last?.challenge.status == .expired && last?.tag == "\"b\"")
            await #expect(throws: DeviceError.self) { try await device.challenge(challengeSID, after: last) }
            await #expect(throws: DeviceError.self) { try await device.challenge(challengeSID, after: last) }
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
