import ChallengeModel
import Crypto
import CryptoExtras
import Foundation
import NIOHPACK
import Synchronization
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("APNs and FCM, against a TLS HTTP/2 peer", .serialized, .timeLimit(.minutes(5)))
struct ProviderTests {
    // MARK: APNs

    @Test("one token for every connection of a key, however many there are and however often they end")
    func oneToken() async throws {
        var script = ScriptedServer.Script()
        script.goawayEvery = 20
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                #expect(await rig.volley(300, inFlight: 50).summary == ["accepted": 300])
                #expect(Set(server.seen.requests.map(\.authorization)).count == 1)
                #expect(server.seen.connections >= 15)
            }
        }
    }

    @Test("ExpiredProviderToken: the token is renewed once and the push sent once more, with the same id")
    func expiredToken() async throws {
        let refused = Mutex<String?>(nil)
        var script = ScriptedServer.Script()
        script.react = { request in
            let isOld = refused.withLock { refused in
                if refused == nil { refused = request.authorization }
                return refused == request.authorization
            }
            return isOld ? .answer(status: 403, body: #"{"reason":"ExpiredProviderToken"}"#) : .accept
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                #expect(await rig.volley(20, inFlight: 10).summary == ["accepted": 20])
                #expect(Set(server.seen.requests.map(\.authorization)).count == 2)
                #expect(server.seen.processed.values.allSatisfy { $0 <= 2 })
            }
        }
    }

    @Test("ExpiredProviderToken for ever is a credential fault after one more try")
    func alwaysExpired() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .answer(status: 403, body: #"{"reason":"ExpiredProviderToken"}"#) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .credentialFault)
                #expect(answer.reason == "ExpiredProviderToken")
                #expect(answer.status == 403)
                #expect(server.seen.requests.count == 2)
                _ = await rig.send(Rig.push())
                #expect(server.seen.requests.count == 3)
            }
        }
    }

    @Test("410 with the time the token died")
    func unregistered() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .answer(status: 410, body: #"{"reason":"Unregistered","timestamp":1799999999000}"#) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .tokenDead)
                #expect(answer.tokenDiedAtMs == 1_799_999_999_000)
                #expect(answer.status == 410)
            }
        }
    }

    @Test(
        "the sandbox is chosen by the push, else by the credential",
        arguments: [
            (false, .environmentUnspecified, false), (true, .environmentUnspecified, true), (true, .production, false),
            (false, .sandbox, true),
        ] as [(Bool, ProviderEnvironment, Bool)])
    func sandbox(credential: Bool, push: ProviderEnvironment, expected: Bool) async throws {
        try await ScriptedServer.run { production in
            try await ScriptedServer.run { sandbox in
                try await Rig.run(production.url, configure: { $0[.apnsSandbox] = sandbox.url }) { rig in
                    rig.gateway.setCredential(Rig.apnsCredential(sandbox: credential))
                    var one = Rig.push()
                    one.environment = push
                    #expect(await rig.send(one).disposition == .accepted)
                    #expect(sandbox.seen.requests.count == (expected ? 1 : 0))
                    #expect(production.seen.requests.count == (expected ? 0 : 1))
                }
            }
        }
    }

    @Test("503 with Retry-After: deferred, and after some in a row not sent at all until then")
    func outage() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in
            .answer(status: 503, headers: ["retry-after": "30"], body: #"{"reason":"ServiceUnavailable"}"#)
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let now = Rig.nowMs()
                let answers = await rig.volley(60, inFlight: 1)
                let summary = answers.summary
                #expect(summary["deferred ServiceUnavailable"] == 10)
                #expect(summary["deferred circuit-open"] == 50)
                #expect(server.seen.requests.count == 10)
                #expect(answers.values.joined().allSatisfy { (29_000...45_000).contains($0.retryAtMs - now) })
            }
        }
    }

    @Test("an outage of one credential leaves the others alone")
    func isolation() async throws {
        var script = ScriptedServer.Script()
        script.react = {
            $0.path.contains("dead") ? .answer(status: 403, body: #"{"reason":"InvalidProviderToken"}"#) : .accept
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                rig.gateway.setCredential(Rig.apnsCredential(sid: "CR-bad"))
                let bad = await rig.volley(20, inFlight: 1) { _ in
                    var push = Rig.push()
                    push.credentialSID = "CR-bad"
                    push.pushToken = "dead"
                    return push
                }
                #expect(bad.summary == ["credentialFault InvalidProviderToken": 5, "deferred circuit-open": 15])
                #expect(await rig.volley(20, inFlight: 5).summary == ["accepted": 20])
            }
        }
    }

    @Test("a corrected key is used with the next push; the same one once more changes nothing")
    func replacedCredential() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                rig.gateway.setCredential(Rig.apnsCredential())
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 1)
                var other = Rig.apnsCredential()
                other.apnsToken.keyID = "OTHERKEY00"
                rig.gateway.setCredential(other)
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 2)
                #expect(Set(server.seen.requests.map(\.authorization)).count == 2)
                #expect(await eventually { server.seen.openConnections == 1 })
            }
        }
    }

    @Test("unknown, removed, unusable and mistaken credentials")
    func credentials() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url) { rig in
                var push = Rig.push()
                push.credentialSID = "CR-unknown"
                let unknown = await rig.send(push)
                #expect(unknown.disposition == .deferred)
                #expect(unknown.reason == "unknown-credential")
                #expect(unknown.retryAtMs > Rig.nowMs())
                rig.gateway.removeCredential(sid: "CR-apns")
                #expect(await rig.send(Rig.push()).reason == "unknown-credential")
                var broken = Rig.apnsCredential()
                broken.apnsToken.privateKeyPem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
                rig.gateway.setCredential(broken)
                #expect(await rig.send(Rig.push()) == PushAnswer(disposition: .credentialFault, reason: "bad-key"))
                var mistaken = Rig.push()
                mistaken.credentialSID = "CR-fcm"
                #expect(
                    await rig.send(mistaken) == PushAnswer(disposition: .credentialFault, reason: "wrong-credential"))
                #expect(server.seen.requests.isEmpty)
            }
        }
    }

    // MARK: FCM

    static func fcmScript(
        token: @escaping @Sendable (ScriptedServer.Request) -> ScriptedServer.Reaction = { _ in
            .answer(
                status: 200, headers: ["content-type": "application/json"],
                body: #"{"access_token":"at-1","expires_in":3599,"token_type":"Bearer"}"#)
        },
        message: @escaping @Sendable (ScriptedServer.Request) -> ScriptedServer.Reaction = { _ in
            .answer(status: 200, body: #"{"name":"projects/demo-project/messages/0:1"}"#)
        }
    ) -> ScriptedServer.Script {
        var script = ScriptedServer.Script()
        script.react = { $0.path == "/token" ? token($0) : message($0) }
        return script
    }

    @Test("many pushes share one access token, which a signed assertion paid for")
    func accessToken() async throws {
        try await ScriptedServer.run(Self.fcmScript()) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(100, inFlight: 50) { _ in Rig.push(.fcm) }
                #expect(answers.summary == ["accepted": 100])
                #expect(
                    answers.values.joined().allSatisfy { $0.providerMessageID == "projects/demo-project/messages/0:1" })
                let tokens = server.seen.requests.filter { $0.path == "/token" }
                #expect(tokens.count == 1)
                let pushes = server.seen.requests.filter { $0.path != "/token" }
                #expect(pushes.count == 100)
                #expect(Set(pushes.map(\.authorization)) == ["Bearer at-1"])
                #expect(Set(pushes.map(\.path)) == ["/v1/projects/demo-project/messages:send"])
                try expectAssertion(try #require(tokens.first), audience: server.url + "/token")
            }
        }
    }

    private func expectAssertion(_ request: ScriptedServer.Request, audience: String) throws {
        let form = String(decoding: request.body, as: UTF8.self)
        #expect(form.hasPrefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="))
        let parts = form.split(separator: "=").last.map { $0.split(separator: ".") } ?? []
        #expect(parts.count == 3)
        let bytes = try #require(decode(parts[1]))
        let claims = try #require(try JSONSerialization.jsonObject(with: bytes) as? [String: Any])
        #expect(claims["aud"] as? String == audience)
        #expect(claims["iss"] as? String == "sender@demo-project.iam.gserviceaccount.com")
        #expect(claims["scope"] as? String == "https://www.googleapis.com/auth/firebase.messaging")
        let signature = _RSA.Signing.RSASignature(rawRepresentation: try #require(decode(parts[2])))
        #expect(
            try Rig.fcmKey.get().publicKey.isValidSignature(
                signature, for: Data("\(parts[0]).\(parts[1])".utf8), padding: .insecurePKCS1v1_5))
    }

    @Test("an endpoint that fails makes pushes deferred, and is not asked again at once")
    func tokenEndpointDown() async throws {
        try await ScriptedServer.run(Self.fcmScript(token: { _ in .answer(status: 503) })) { server in
            try await Rig.run(server.url) { rig in
                let start = ContinuousClock.now
                let answers = await rig.volley(20, inFlight: 5) { _ in Rig.push(.fcm) }
                #expect(answers.summary == ["deferred access-token": 20])
                #expect(answers.values.joined().allSatisfy { $0.retryAtMs > 0 && $0.sentAtMs == 0 })
                // The first wait is half a second or more.
                #expect(server.seen.requests.count <= 1 + Int((ContinuousClock.now - start) / .milliseconds(500)))
            }
        }
    }

    @Test("a key that the endpoint refuses is a credential fault")
    func invalidGrant() async throws {
        let body = #"{"error":"invalid_grant","error_description":"Invalid grant: account not found"}"#
        let script = Self.fcmScript(token: { _ in .answer(status: 400, body: body) })
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answer = await rig.send(Rig.push(.fcm))
                #expect(
                    answer
                        == PushAnswer(
                            disposition: .credentialFault, reason: "invalid_grant: Invalid grant: account not found"))
            }
        }
    }

    @Test("a token endpoint that takes six seconds is waited for")
    func slowTokenEndpoint() async throws {
        let script = Self.fcmScript(token: { _ in
            .answer(status: 200, body: #"{"access_token":"at-1","expires_in":3599}"#, afterMs: 6000)
        })
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(60) }) { rig in
                let answers = await rig.volley(5, inFlight: 5) { _ in Rig.push(.fcm) }
                #expect(answers.summary == ["accepted": 5])
                #expect(server.seen.requests.filter { $0.path == "/token" }.count == 1)
            }
        }
    }

    @Test("a push waits for a token no longer than its challenge lives, nor than its own deadline")
    func tokenTooLate() async throws {
        let script = Self.fcmScript(token: { _ in .stall })
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(2) }) { rig in
                async let short = rig.send(Rig.push(.fcm, lifeMs: 500))
                async let long = rig.send(Rig.push(.fcm))
                #expect(await short == PushAnswer(disposition: .dropped, reason: "expired"))
                let answer = await long
                #expect(answer.disposition == .deferred && answer.reason == "access-token")
                #expect(rig.gateway.inFlight == 0, "the fetch itself goes on")
            }
        }
    }

    @Test("an access token that FCM does not take is fetched anew once")
    func tokenRefused() async throws {
        let count = Mutex(0)
        let script = Self.fcmScript(
            token: { _ in
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                return .answer(status: 200, body: #"{"access_token":"at-\#(number)","expires_in":3599}"#)
            },
            message: {
                $0.authorization == "Bearer at-1"
                    ? .answer(status: 401, body: #"{"error":{"status":"UNAUTHENTICATED"}}"#)
                    : .answer(status: 200, body: #"{"name":"projects/p/messages/1"}"#)
            })
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(30, inFlight: 10) { _ in Rig.push(.fcm) }
                #expect(answers.summary == ["accepted": 30])
                #expect(server.seen.requests.filter { $0.path == "/token" }.count == 2)
            }
        }
    }

    @Test("FCM has no background push")
    func noBackground() async throws {
        try await ScriptedServer.run(Self.fcmScript()) { server in
            try await Rig.run(server.url) { rig in
                let answer = await rig.send(Rig.push(.fcm, kind: .background))
                #expect(answer == PushAnswer(disposition: .dropped, reason: "no-background"))
                #expect(server.seen.requests.isEmpty)
            }
        }
    }

    @Test("a quota that is used up stops the project for the time given")
    func quota() async throws {
        let script = Self.fcmScript(message: { _ in
            .answer(status: 429, body: ClassificationTests.quota)
        })
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let now = Rig.nowMs()
                let first = await rig.send(Rig.push(.fcm))
                #expect(first.reason == "QUOTA_EXCEEDED")
                #expect(first.retryAtMs - now >= 60_000)
                #expect(await rig.send(Rig.push(.fcm)).reason == "circuit-open")
                #expect(await rig.send(Rig.push()).reason != "circuit-open", "the other provider goes on")
            }
        }
    }

    @Test("a hanging APNs does not slow FCM")
    func providersApart() async throws {
        var apns = ScriptedServer.Script()
        apns.react = { _ in .stall }
        try await ScriptedServer.run(apns) { hanging in
            try await ScriptedServer.run(Self.fcmScript()) { well in
                try await Rig.run(hanging.url, fcmURL: well.url, configure: { $0.deadline = .seconds(3600) }) { rig in
                    async let stuck = rig.volley(50, inFlight: 50)
                    #expect(await eventually { !hanging.seen.requests.isEmpty })
                    #expect(await rig.volley(200, inFlight: 20) { _ in Rig.push(.fcm) }.summary == ["accepted": 200])
                    #expect(rig.gateway.inFlight == 50, "before one of the hanging ones has ended")
                    await rig.gateway.close(deadline: .milliseconds(1))
                    _ = await stuck
                }
            }
        }
    }
}
