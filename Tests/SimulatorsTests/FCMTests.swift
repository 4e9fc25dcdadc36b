import CryptoExtras
import DeviceKit
import Foundation
import NIOHTTP1
import Testing
import Wire

@testable import Simulators

/// A service account as its JSON says, and what a sender does with it.
struct TestAccount: Sendable {
    var project: String
    var email: String
    var key: _RSA.Signing.PrivateKey

    init(_ json: String) throws {
        let tree = try JSONParser.parse(json, .reply)
        project = try #require(tree["project_id"]?.stringValue)
        email = try #require(tree["client_email"]?.stringValue)
        key = try _RSA.Signing.PrivateKey(pemRepresentation: try #require(tree["private_key"]?.stringValue))
    }

    struct Claims {
        var algorithm = "RS256"
        var issuer: String
        var scope = "https://www.googleapis.com/auth/firebase.messaging"
        var audience: String
        var issuedAt: Int64
        var life: Int64 = 3600
    }

    func claims(_ lab: Lab) -> Claims {
        Claims(issuer: email, audience: lab.addresses.fcmTokenURL, issuedAt: lab.clock.nowMs / 1000)
    }

    func assertion(_ claims: Claims) throws -> String {
        let head = Base64URL.encode(Array(#"{"alg":"\#(claims.algorithm)","typ":"JWT"}"#.utf8))
        let body = Base64URL.encode(
            Array(
                #"{"iss":"\#(claims.issuer)","scope":"\#(claims.scope)","aud":"\#(claims.audience)","iat":\#(claims.issuedAt),"exp":\#(claims.issuedAt + claims.life)}"#
                    .utf8))
        let signature = try key.signature(for: Data("\(head).\(body)".utf8), padding: .insecurePKCS1v1_5)
        return "\(head).\(body).\(Base64URL.encode(Array(signature.rawRepresentation)))"
    }

    func grant(_ lab: Lab, _ change: (inout Claims) -> Void = { _ in }) async throws -> TestAnswer {
        var claims = claims(lab)
        change(&claims)
        let form = Form.encode([
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", try assertion(claims)),
        ])
        return try await lab.send(
            "POST", lab.addresses.fcmTokenURL, [("content-type", "application/x-www-form-urlencoded")], Array(form.utf8)
        )
    }

    func bearer(_ lab: Lab) async throws -> String {
        let answer = try await grant(lab)
        return "Bearer " + (try #require(answer.tree?["access_token"]?.stringValue))
    }
}

@Suite("FCM look-alike", .timeLimit(.minutes(5)))
struct FCMTests {
    static let token = "cTokenTokenTokenTokenT:APA91b" + String(repeating: "x", count: 100)

    private static func message(
        _ fields: String =
            #""data":{"challenge_sid":"YC1","kind":"visible"},"android":{"priority":"HIGH","ttl":"300s"}"#,
        token: String = token
    ) -> [UInt8] {
        Array(#"{"message":{"token":"\#(token)",\#(fields)}}"#.utf8)
    }

    private static func send(_ lab: Lab, _ project: String, _ bearer: String?, _ body: [UInt8]) async throws
        -> TestAnswer
    {
        var headers = [("content-type", "application/json")]
        if let bearer { headers.append(("authorization", bearer)) }
        return try await lab.send("POST", lab.addresses.fcmURL + "/v1/projects/\(project)/messages:send", headers, body)
    }

    @Test("the token endpoint takes a right assertion, also one made for Google's own endpoint")
    func grants() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            let answer = try await account.grant(lab)
            #expect(answer.status == 200)
            #expect(answer.tree?["token_type"]?.stringValue == "Bearer")
            #expect(answer.tree?["expires_in"]?.integerValue == 3599)
            #expect(try await account.grant(lab) { $0.audience = "https://oauth2.googleapis.com/token" }.status == 200)
            #expect(lab.providers.accessTokensGranted == 2)
        }
    }

    @Test("the token endpoint refuses every wrong assertion with Google's word")
    func wrongAssertions() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            func error(_ change: (inout TestAccount.Claims) -> Void) async throws -> String {
                let answer = try await account.grant(lab, change)
                #expect(answer.status == 400)
                return answer.tree?["error"]?.stringValue ?? ""
            }
            #expect(try await error { $0.issuer = "x@y" } == "invalid_grant")
            #expect(try await error { $0.audience = "https://evil.example/token" } == "invalid_grant")
            #expect(try await error { $0.algorithm = "HS256" } == "invalid_grant")
            #expect(try await error { $0.life = 3601 } == "invalid_grant")
            #expect(try await error { $0.issuedAt += 1 } == "invalid_grant")
            #expect(try await error { $0.issuedAt -= 3600 } == "invalid_grant")
            #expect(try await error { $0.scope = "email" } == "invalid_scope")
            var other = account
            other.key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
            #expect(try await other.grant(lab).tree?["error_description"]?.stringValue == "Invalid JWT Signature.")
            let plain = try await lab.send("POST", lab.addresses.fcmTokenURL, [], Array("grant_type=password".utf8))
            #expect(plain.tree?["error"]?.stringValue == "unsupported_grant_type")
            #expect(try await lab.send("GET", lab.addresses.fcmTokenURL, [], nil).status == 405)
            #expect(lab.providers.accessTokensGranted == 0)
        }
    }

    @Test("a right message is named and reaches its phone")
    func accepted() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            let pushes = try lab.providers.network.receive(.fcm, token: Self.token, appID: "dev.app")
            let answer = try await Self.send(lab, account.project, try await account.bearer(lab), Self.message())
            #expect(answer.status == 200)
            let name = try #require(answer.tree?["name"]?.stringValue)
            #expect(name.hasPrefix("projects/\(account.project)/messages/"))
            let push = await pushes.first { _ in true }
            #expect(push?.messageID == name && push?.values == ["challenge_sid": "YC1", "kind": "visible"])
            #expect(push?.priority == 10 && push?.expiresAtMs == lab.clock.nowMs + 300_000 && push?.appID == "dev.app")
        }
    }

    @Test("bearers: none, unknown, run out, of another project, of a revoked account")
    func bearers() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            let bearer = try await account.bearer(lab)
            for wrong in [nil, "Bearer nonsense", "Basic eA=="] {
                let answer = try await Self.send(lab, account.project, wrong, Self.message())
                #expect(answer.status == 401 && answer.tree?["error"]?["status"]?.stringValue == "UNAUTHENTICATED")
            }
            #expect(try await Self.send(lab, "other-project", bearer, Self.message()).status == 403)
            lab.clock.advance(ms: 3_599_000)
            #expect(try await Self.send(lab, account.project, bearer, Self.message()).status == 401)
            let fresh = try await account.bearer(lab)
            #expect(try await Self.send(lab, account.project, fresh, Self.message()).status == 200)
            lab.providers.revokeServiceAccount(clientEmail: account.email)
            #expect(try await Self.send(lab, account.project, fresh, Self.message()).status == 401)
        }
    }

    @Test("a deleted app is UNREGISTERED, another sender's token SENDER_ID_MISMATCH")
    func deadTokens() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            let bearer = try await account.bearer(lab)
            try lab.providers.network.bind(fcmToken: Self.token, project: "someone-else")
            let mismatch = try await Self.send(lab, account.project, bearer, Self.message())
            #expect(mismatch.status == 403 && mismatch.fcmCode == "SENDER_ID_MISMATCH")
            try lab.providers.network.unregister(.fcm, token: Self.token)
            let gone = try await Self.send(lab, account.project, bearer, Self.message())
            #expect(gone.status == 404 && gone.fcmCode == "UNREGISTERED")
            #expect(gone.tree?["error"]?["status"]?.stringValue == "NOT_FOUND")
            let record = try #require(lab.providers.network.log().last)
            #expect(record.pushToken == Self.token && record.reason == "UNREGISTERED" && record.fate == .refused)
        }
    }

    @Test("faults have Google's forms")
    func faults() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            let bearer = try await account.bearer(lab)
            func send(_ change: (inout ProviderFaults) -> Void) async throws -> TestAnswer {
                lab.providers.setFaults(ProviderFaults.with(change), .fcm)
                return try await Self.send(lab, account.project, bearer, Self.message())
            }
            let quota = try await send {
                $0.errorShare = 1
                $0.errorReason = "QUOTA_EXCEEDED"
                $0.retryAfterSeconds = 60
            }
            #expect(quota.status == 429 && quota.fcmCode == "QUOTA_EXCEEDED")
            #expect(quota.headers.first(name: "retry-after") == "60")
            let outage = try await send { $0.unavailableForMs = 1000 }
            #expect(outage.status == 503 && outage.fcmCode == "UNAVAILABLE")
            #expect(try await send { $0.errorShare = 1 }.fcmCode == "INTERNAL")
            #expect(try await account.grant(lab).status == 200, "the token endpoint is not hit")
            lab.providers.setFaults(ProviderFaults.with { $0.tokenEndpointFails = true }, .fcm)
            #expect(try await account.grant(lab).status == 503)
            #expect(try await Self.send(lab, account.project, bearer, Self.message()).status == 200)
        }
    }

    @Test(
        "a message that is not of its form is INVALID_ARGUMENT",
        arguments: [
            #"{"message":{"token":"T","data":{"a":1}}}"#, #"{"message":{"token":"T","data":{"from":"x"}}}"#,
            #"{"message":{"token":"T","data":{"google.x":"x"}}}"#, #"{"message":{"token":"T","data":{"gcmx":"x"}}}"#,
            #"{"message":{"token":"T","data":{"message_type":"x"}}}"#, #"{"message":{"token":"T","data":[]}}"#,
            #"{"message":{"token":"T","android":{"ttl":"300"}}}"#, #"{"message":{"token":"T","android":{"ttl":300}}}"#,
            #"{"message":{"token":"T","android":{"ttl":"-1s"}}}"#,
            #"{"message":{"token":"T","android":{"ttl":"2419201s"}}}"#,
            #"{"message":{"token":"T","android":{"priority":"URGENT"}}}"#,
            #"{"message":{"token":"T","android":{"priority":10}}}"#,
            #"{"message":{"token":"T","android":{"tag":"x"}}}"#, #"{"message":{"token":"T","unknown":1}}"#,
            #"{"message":{"token":"T","topic":"x"}}"#, #"{"message":{"data":{}}}"#, #"{"message":{"token":"short"}}"#,
            #"{"message":{"token":"T"},"registration_ids":[]}"#, #"{"message":[]}"#, "{}", "nonsense", "",
            #"{"validate_only":"yes","message":{"token":"T"}}"#,
        ])
    func invalid(json: String) {
        let body = json.replacingOccurrences(of: #""T""#, with: #""\#(Self.token)""#)
        #expect {
            try FCMMessage(Array(body.utf8))
        } throws: { ($0 as? FCMError)?.code == "INVALID_ARGUMENT" }
    }

    @Test("sizes count names and values, up to 4,096 bytes; a ttl may have a fraction")
    func sizes() throws {
        func body(_ length: Int) -> [UInt8] {
            Self.message(#""data":{"k":"\#(String(repeating: "v", count: length - 1))"},"android":{"ttl":"3.5s"}"#)
        }
        #expect(try FCMMessage(body(4096)).lifeSeconds == 3)
        #expect(throws: FCMError.self) { try FCMMessage(body(4097)) }
        let shown = try FCMMessage(
            Self.message(#""notification":{"title":"t"},"android":{"priority":"high","notification":{"tag":"YC"}}"#))
        #expect(shown.hasNotification && shown.isHighPriority)
    }

    @Test("a check only is answered and delivers nothing")
    func validateOnly() async throws {
        try await Lab.run { lab in
            let account = try TestAccount(try lab.providers.makeServiceAccount())
            let body = Array(#"{"validate_only":true,"message":{"token":"\#(Self.token)"}}"#.utf8)
            #expect(try await Self.send(lab, account.project, try await account.bearer(lab), body).status == 200)
            #expect(lab.providers.network.counters(.fcm).accepted == 0)
        }
    }
}
