import ChallengeModel
import Testing

@testable import PushGateway
@testable import PushProviders

struct APNsRow: Sendable, CustomTestStringConvertible {
    var status: Int
    var reason: String
    var disposition: Disposition
    var retryMs: Int64 = 0
    var health = CircuitBreaker.Event.success
    var testDescription: String { "\(status) \(reason)" }
}

struct FCMRow: Sendable, CustomTestStringConvertible {
    var http: Int
    var status: String
    var code: String?
    var disposition: Disposition
    var retryMs: Int64 = 0
    var reauthorizes = false
    /// `reason` of Google's ErrorInfo.
    var info: String?
    var testDescription: String { "\(http) \(word)" }
    var word: String { code ?? info ?? status }
}

@Suite("what providers' answers mean")
struct ClassificationTests {
    static let now: Int64 = 1_800_000_000_000

    // Every reason of Apple's table, "Handling notification responses from APNs".
    static let apnsRows: [APNsRow] = [
        APNsRow(status: 400, reason: "BadCollapseId", disposition: .rejected),
        APNsRow(status: 400, reason: "BadDeviceToken", disposition: .rejected),
        APNsRow(status: 400, reason: "BadExpirationDate", disposition: .rejected),
        APNsRow(status: 400, reason: "BadMessageId", disposition: .rejected),
        APNsRow(status: 400, reason: "BadPriority", disposition: .rejected),
        APNsRow(status: 400, reason: "BadTopic", disposition: .rejected),
        APNsRow(status: 400, reason: "DeviceTokenNotForTopic", disposition: .rejected),
        APNsRow(status: 400, reason: "DuplicateHeaders", disposition: .rejected),
        APNsRow(
            status: 400, reason: "IdleTimeout", disposition: .deferred, retryMs: 1000, health: .failure(retryAfterMs: 0)
        ),
        APNsRow(status: 400, reason: "InvalidPushType", disposition: .rejected),
        APNsRow(status: 400, reason: "MissingDeviceToken", disposition: .rejected),
        APNsRow(status: 400, reason: "MissingTopic", disposition: .rejected),
        APNsRow(status: 400, reason: "PayloadEmpty", disposition: .rejected),
        APNsRow(status: 400, reason: "TopicDisallowed", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 403, reason: "BadCertificate", disposition: .credentialFault, health: .credentialFault),
        APNsRow(
            status: 403, reason: "BadCertificateEnvironment", disposition: .credentialFault, health: .credentialFault),
        APNsRow(
            status: 403, reason: "BadEnvironmentKeyIdInToken", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 403, reason: "ExpiredProviderToken", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 403, reason: "Forbidden", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 403, reason: "InvalidProviderToken", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 403, reason: "MissingProviderToken", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 403, reason: "UnrelatedKeyIdInToken", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 404, reason: "BadPath", disposition: .rejected),
        APNsRow(status: 405, reason: "MethodNotAllowed", disposition: .rejected),
        APNsRow(status: 410, reason: "ExpiredToken", disposition: .tokenDead),
        APNsRow(status: 410, reason: "Unregistered", disposition: .tokenDead),
        APNsRow(status: 413, reason: "PayloadTooLarge", disposition: .rejected),
        APNsRow(
            status: 429, reason: "TooManyProviderTokenUpdates", disposition: .deferred, retryMs: 60_000,
            health: .pause(ms: 60_000)),
        APNsRow(status: 429, reason: "TooManyRequests", disposition: .deferred, retryMs: 10_000),
        APNsRow(
            status: 500, reason: "InternalServerError", disposition: .deferred, retryMs: 2000,
            health: .failure(retryAfterMs: 0)),
        APNsRow(
            status: 503, reason: "ServiceUnavailable", disposition: .deferred, retryMs: 5000,
            health: .failure(retryAfterMs: 0)),
        APNsRow(
            status: 503, reason: "Shutdown", disposition: .deferred, retryMs: 1000, health: .failure(retryAfterMs: 0)),
        // Reasons that Apple has not told us of.
        APNsRow(status: 400, reason: "SomethingNew", disposition: .rejected),
        APNsRow(status: 403, reason: "SomethingNew", disposition: .credentialFault, health: .credentialFault),
        APNsRow(status: 410, reason: "SomethingNew", disposition: .tokenDead),
        APNsRow(status: 429, reason: "SomethingNew", disposition: .deferred, retryMs: 10_000),
        APNsRow(
            status: 502, reason: "SomethingNew", disposition: .deferred, retryMs: 5000,
            health: .failure(retryAfterMs: 0)),
        APNsRow(status: 301, reason: "SomethingNew", disposition: .rejected),
    ]

    @Test("every APNs reason", arguments: apnsRows)
    func everyAPNsReason(row: APNsRow) {
        let verdict = apns(row.status, #"{"reason":"\#(row.reason)"}"#)
        #expect(verdict.disposition == row.disposition)
        #expect(verdict.reason == row.reason)
        #expect(verdict.retryAfterMs == row.retryMs)
        #expect(verdict.health == row.health)
        #expect(verdict.shouldReauthorize == (row.reason == "ExpiredProviderToken"))
        #expect(verdict.providerMessageID == "id-1")
    }

    @Test("the table of reasons and this test know the same ones")
    func tableIsWhole() {
        let tested = Set(Self.apnsRows.map(\.reason)).subtracting(["SomethingNew"])
        #expect(tested == Set(APNsClassification.meanings.keys))
    }

    @Test("200 is accepted, with the provider's id")
    func accepted() {
        let verdict = apns(200, "")
        #expect(verdict.disposition == .accepted)
        #expect(verdict.reason.isEmpty)
        #expect(verdict.providerMessageID == "id-1")
    }

    @Test(
        "a token that died before it was registered again is not dead",
        arguments: [
            (registered: Int64(2_000), died: Int64(1_999), Disposition.rejected, "StaleUnregistered"),
            (registered: 2_000, died: 2_000, .tokenDead, "Unregistered"),
            (registered: 2_000, died: 2_001, .tokenDead, "Unregistered"),
            (registered: 0, died: 1, .tokenDead, "Unregistered"),
        ].map { (Int64(1_700_000_000_000) + $0.registered, Int64(1_700_000_000_000) + $0.died, $0.2, $0.3) })
    func stale(registeredAtMs: Int64, diedAtMs: Int64, disposition: Disposition, reason: String) {
        let verdict = apns(
            410, #"{"reason":"Unregistered","timestamp":\#(diedAtMs)}"#,
            registeredAtMs: registeredAtMs == 1_700_000_000_000 ? 0 : registeredAtMs)
        #expect(verdict.disposition == disposition)
        #expect(verdict.reason == reason)
        #expect(verdict.tokenDiedAtMs == diedAtMs)
    }

    @Test("a 410 without a time, or with one in seconds, is read as it is meant")
    func odd410() {
        #expect(apns(410, #"{"reason":"Unregistered"}"#, registeredAtMs: Self.now).disposition == .tokenDead)
        let seconds = apns(410, #"{"reason":"Unregistered","timestamp":1799999999}"#, registeredAtMs: 1_700_000_000_000)
        #expect(seconds.disposition == .tokenDead)
        #expect(seconds.tokenDiedAtMs == 1_799_999_999_000)
    }

    @Test(
        "a 410 with a time that cannot be is read without it",
        arguments: ["9223372036854775807", "-9223372036854775808", "253402300800000", "-1", "1e300", "1e400"])
    func impossible410(timestamp: String) {
        let verdict = apns(410, #"{"reason":"Unregistered","timestamp":\#(timestamp)}"#)
        #expect(verdict.disposition == .tokenDead)
        #expect(verdict.tokenDiedAtMs == 0)
    }

    @Test(
        "a body that is no JSON, or is hostile, leaves the status to decide",
        arguments: [
            "", "no", "[]", "{\"reason\":7}", "{\"reason\":\"\(String(repeating: "x", count: 100))\"}", "\u{0}",
        ])
    func oddBodies(body: String) {
        #expect(apns(400, body).disposition == .rejected)
        #expect(apns(400, body).reason == "HTTP 400")
        #expect(apns(503, body).disposition == .deferred)
        #expect(fcm(404, body).disposition == .rejected)
        #expect(fcm(503, body).disposition == .deferred)
        #expect(fcm(200, body).disposition == .unknown)
    }

    @Test(
        "FCM has taken what it has given a name to, and nothing else",
        arguments: [
            (200, ""), (200, "<html><body>Please sign in</body></html>"), (204, ""), (200, "{}"), (202, "{}"),
            (200, #"{"error":{"status":"UNAVAILABLE"}}"#), (201, #"{"name":"projects/p/messages/0:1"}"#),
            (200, #"{"name":"somebody else"}"#),
        ])
    func notAccepted(status: Int, body: String) {
        let verdict = fcm(status, body)
        #expect(verdict.disposition == .unknown)
        #expect(verdict.reason == "HTTP \(status) without a message name")
        #expect(verdict.health == .failure(retryAfterMs: 0))
        #expect(apns(status, body).disposition == (status == 200 ? .accepted : .unknown))
    }

    @Test(
        "what a token endpoint says",
        arguments: [
            (
                400, #"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
                AccessTokenAnswer.refused("invalid_grant: Invalid JWT Signature.")
            ),
            (400, #"{"error":"invalid_grant"}"#, .refused("invalid_grant")),
            (400, #"{"error":1101,"error_description":"a\nb\u202e"}"#, .refused("1101: a b")),
            (403, "<html>", .refused("HTTP 403")), (503, "", .unavailable("HTTP 503", retryAfterMs: nil)),
            (200, "{}", .unavailable("HTTP 200 without an access_token that can be used", retryAfterMs: nil)),
            (200, #"{"access_token":"a","expires_in":1e308}"#, .granted(token: "a", lifeMs: 86_400_000)),
            (200, #"{"access_token":"a","expires_in":-9223372036854775808}"#, .granted(token: "a", lifeMs: 1000)),
            (200, #"{"access_token":"a"}"#, .granted(token: "a", lifeMs: 3_600_000)),
        ])
    func tokenAnswers(status: Int, body: String, expected: AccessTokenAnswer) {
        #expect(
            AccessTokenAnswer(status: status, body: Array(body.utf8), retryAfter: [], nowMs: Self.now) == expected)
    }

    @Test("a token endpoint's Retry-After is heard")
    func tokenRetryAfter() {
        let answer = AccessTokenAnswer(status: 429, body: [], retryAfter: Array("7".utf8), nowMs: Self.now)
        #expect(answer == .unavailable("HTTP 429", retryAfterMs: 7000))
    }

    @Test("Retry-After is honoured, and capped")
    func retryAfter() {
        #expect(apns(503, #"{"reason":"ServiceUnavailable"}"#, retryAfter: "7").retryAfterMs == 7000)
        #expect(apns(429, #"{"reason":"TooManyRequests"}"#, retryAfter: "3").retryAfterMs == 3000)
        #expect(apns(503, "", retryAfter: "99999999").retryAfterMs == 3_600_000)
        #expect(apns(503, "", retryAfter: "-5").retryAfterMs == 5000)
        #expect(fcm(429, Self.quota, retryAfter: "5").retryAfterMs == 5000)
        #expect(fcm(429, Self.quota).retryAfterMs == 60_000)
        #expect(fcm(503, "", retryAfter: "2").retryAfterMs == 10_000)
        #expect(fcm(503, "", retryAfter: "30").retryAfterMs == 30_000)
        #expect(fcm(503, "", retryAfter: "30").health == .failure(retryAfterMs: 30_000))
        #expect(fcm(429, Self.quota).health == .pause(ms: 60_000))
    }

    static let quota = fcmBody("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")

    static func fcmBody(_ status: String, _ code: String?, info: String? = nil) -> String {
        var details = code.map {
            #","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"\#($0)"}]"#
        }
        if let info {
            details = #","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"\#(info)"}]"#
        }
        return #"{"error":{"code":400,"message":"no","status":"\#(status)"\#(details ?? "")}}"#
    }

    static let fcmRows: [FCMRow] = [
        FCMRow(http: 400, status: "INVALID_ARGUMENT", code: "INVALID_ARGUMENT", disposition: .rejected),
        FCMRow(http: 400, status: "INVALID_ARGUMENT", code: "UNSPECIFIED_ERROR", disposition: .rejected),
        FCMRow(http: 404, status: "NOT_FOUND", code: "UNREGISTERED", disposition: .tokenDead),
        FCMRow(http: 404, status: "NOT_FOUND", code: nil, disposition: .rejected),
        FCMRow(http: 403, status: "PERMISSION_DENIED", code: "SENDER_ID_MISMATCH", disposition: .rejected),
        FCMRow(http: 403, status: "PERMISSION_DENIED", code: nil, disposition: .credentialFault),
        FCMRow(
            http: 403, status: "PERMISSION_DENIED", code: nil, disposition: .credentialFault, info: "SERVICE_DISABLED"),
        FCMRow(http: 401, status: "UNAUTHENTICATED", code: "THIRD_PARTY_AUTH_ERROR", disposition: .credentialFault),
        FCMRow(http: 401, status: "UNAUTHENTICATED", code: nil, disposition: .credentialFault, reauthorizes: true),
        FCMRow(
            http: 429, status: "RESOURCE_EXHAUSTED", code: "QUOTA_EXCEEDED", disposition: .deferred, retryMs: 60_000),
        FCMRow(http: 429, status: "RESOURCE_EXHAUSTED", code: nil, disposition: .deferred, retryMs: 60_000),
        FCMRow(http: 503, status: "UNAVAILABLE", code: "UNAVAILABLE", disposition: .deferred, retryMs: 10_000),
        FCMRow(http: 500, status: "INTERNAL", code: "INTERNAL", disposition: .deferred, retryMs: 10_000),
        FCMRow(http: 504, status: "DEADLINE_EXCEEDED", code: nil, disposition: .deferred, retryMs: 10_000),
        FCMRow(http: 400, status: "FAILED_PRECONDITION", code: nil, disposition: .rejected),
        FCMRow(http: 418, status: "NEWS", code: nil, disposition: .rejected),
    ]

    @Test("every FCM error code", arguments: fcmRows)
    func everyFCMCode(row: FCMRow) {
        let verdict = fcm(row.http, Self.fcmBody(row.status, row.code, info: row.info))
        #expect(verdict.disposition == row.disposition)
        #expect(verdict.reason == row.word)
        #expect(verdict.retryAfterMs == row.retryMs)
        #expect(verdict.shouldReauthorize == row.reauthorizes)
    }

    @Test("the table of FCM's words and this test know the same ones")
    func fcmTableIsWhole() {
        let tested = Set(Self.fcmRows.map(\.word)).subtracting(["NEWS"])
        #expect(tested == Set(FCMClassification.meanings.keys))
    }

    @Test(
        "the name of an accepted message",
        arguments: [
            (#"{"name":"projects/p/messages/0:1"}"#, "projects/p/messages/0:1"),
            ("{\n  \"name\": \"projects/p/messages/0:1\"\n}\n", "projects/p/messages/0:1"), ("{}", ""),
            (#"{"name":"cut"#, ""), (#"{"name":""}"#, ""), (#"{"name":7}"#, ""),
            (#"{"other":1,"name":"projects\/p\/messages\/0:1"}"#, "projects/p/messages/0:1"),
        ])
    func messageName(body: String, expected: String) {
        #expect(fcm(200, body).providerMessageID == expected)
    }

    @Test("only what left without an answer is unknown")
    func withoutAnswer() {
        #expect(Verdict.withoutAnswer(.expired).disposition == .dropped)
        #expect(Verdict.withoutAnswer(.unsent).disposition == .deferred)
        #expect(Verdict.withoutAnswer(.refused).disposition == .deferred)
        #expect(Verdict.withoutAnswer(.refused).retryAfterMs == 1000)
        #expect(Verdict.withoutAnswer(.refused, retryAfterMs: 16_000).retryAfterMs == 16_000)
        #expect(Verdict.withoutAnswer(.timedOut).disposition == .unknown)
        #expect(Verdict.withoutAnswer(.connectionLost).disposition == .unknown)
        #expect(Verdict.withoutAnswer(.reset).disposition == .unknown)
    }

    private func apns(_ status: Int, _ body: String, registeredAtMs: Int64 = 1, retryAfter: String = "") -> Verdict {
        APNsClassification.verdict(
            status: status, body: Array(body.utf8), retryAfter: Array(retryAfter.utf8), messageID: "id-1",
            registeredAtMs: registeredAtMs, nowMs: Self.now)
    }

    private func fcm(_ status: Int, _ body: String, retryAfter: String = "") -> Verdict {
        FCMClassification.verdict(
            status: status, body: Array(body.utf8), retryAfter: Array(retryAfter.utf8), nowMs: Self.now)
    }
}
