import ChallengeModel
import Crypto
import Foundation
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("ways to a provider: certificates and proxies", .serialized, .timeLimit(.minutes(5)))
struct WaysTests {
    private static func certificateCredential(key: String? = nil) throws -> ProviderCredential {
        let certificate = try TestCertificate.shared.get()
        var credential = ProviderCredential()
        credential.credentialSid = "CR-cert"
        credential.apnsCertificate.certificatePem = certificate.certificatePEM
        credential.apnsCertificate.privateKeyPem = key ?? certificate.keyPEM
        return credential
    }

    private static func push(_ sid: String) -> Push {
        var push = Rig.push()
        push.credentialSID = sid
        return push
    }

    @Test("an APNs certificate is shown in the handshake, no token is sent, and streams do not wait for a first answer")
    func certificate() async throws {
        var script = ScriptedServer.Script()
        script.asksForClient = true
        script.react = { _ in .answer(status: 200, afterMs: 100) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                rig.gateway.setCredential(try Self.certificateCredential())
                #expect(await rig.volley(20, inFlight: 20) { _ in Self.push("CR-cert") }.summary == ["accepted": 20])
                #expect(server.seen.requests.allSatisfy { $0.authorization.isEmpty })
                #expect(server.seen.mostStreams > 1)
                let before = server.seen.requests.count
                #expect(await rig.send(Rig.push()).disposition != .accepted, "a token does not open this door")
                #expect(server.seen.requests.count == before)
            }
        }
    }

    @Test("a certificate whose key is another's is a credential fault, and says so before anything is sent")
    func strayKey() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url) { rig in
                rig.gateway.setCredential(try Self.certificateCredential(key: Rig.apnsKey.pemRepresentation))
                #expect(
                    await rig.send(Self.push("CR-cert")) == PushAnswer(disposition: .credentialFault, reason: "bad-key")
                )
                #expect(server.seen.connections == 0)
            }
        }
    }

    @Test("through a proxy: CONNECT with its credentials, then TLS with the provider itself, for tokens too")
    func proxy() async throws {
        var script = ScriptedServer.Script()
        script.react = { request in
            switch request.path {
            case "/token": .answer(status: 200, body: #"{"access_token":"t","expires_in":3600}"#)
            case let path where path.hasPrefix("/v1/"): .answer(status: 200, body: #"{"name":"projects/p/messages/1"}"#)
            default: .accept
            }
        }
        try await ScriptedServer.run(script) { server in
            try await TunnelProxy.run { proxy in
                let configure: (inout PushGatewayConfiguration) -> Void = {
                    $0.proxyURL = "http://me:secret@127.0.0.1:\(proxy.port)"
                }
                try await Rig.run(server.url, configure: configure) { rig in
                    #expect(await rig.volley(50, inFlight: 10).summary == ["accepted": 50])
                    #expect(await rig.volley(10, inFlight: 10) { _ in Rig.push(.fcm) }.summary == ["accepted": 10])
                    #expect(proxy.requests.count >= 3, "APNs, FCM and the token endpoint")
                    #expect(proxy.requests.allSatisfy { $0.hasPrefix("CONNECT localhost:\(server.port) HTTP/1.1\r\n") })
                    let credentials = Data("me:secret".utf8).base64EncodedString()
                    #expect(
                        proxy.requests.allSatisfy {
                            $0.lowercased().contains("proxy-authorization: basic \(credentials.lowercased())")
                        })
                }
            }
        }
    }

    @Test("a proxy that refuses is no connection: deferred, never unknown")
    func proxyRefuses() async throws {
        try await ScriptedServer.run { server in
            try await TunnelProxy.run(refusing: "HTTP/1.1 407 Proxy Authentication Required") { proxy in
                let configure: (inout PushGatewayConfiguration) -> Void = {
                    $0.proxyURL = "http://127.0.0.1:\(proxy.port)"
                    $0.deadline = .seconds(2)
                }
                try await Rig.run(server.url, configure: configure) { rig in
                    let answer = await rig.send(Rig.push())
                    #expect(answer.disposition == .deferred && answer.reason == "connection")
                    #expect(server.seen.connections == 0)
                }
            }
        }
    }

    @Test(
        "a proxy's URL that is none says what would be one, and never the password",
        arguments: [
            "https://me:hidden@h:1", "http://me:hidden@h", "http://me:hidden@h:1/path", "me:hidden",
        ])
    func proxyURL(url: String) throws {
        do {
            _ = try ProxyAddress(url: url)
            Issue.record("\(url) was taken")
        } catch {
            #expect(error.message.contains("http://[USER:PASSWORD@]HOST:PORT"))
            #expect(!error.message.contains("hidden"))
        }
    }
}
