import ChallengeModel
import Challenges
import Doctor
import Foundation
import KafkaClient
import PushGateway
import PushProviders
import ServiceSupport
import Simulators
import Storage
import Testing
import Wire

@Suite("Mistakes of credentials, clock and ways to the providers", .timeLimit(.minutes(5)))
struct ProviderTests {
    /// Simulators, and a store whose credentials they know.
    private struct Rig: Sendable {
        let providers: SimulatedProviders
        let gateway: PushGatewayConfiguration
        let store: ChallengeStore
        let path: String
        let keys: KeyRing
        let account: AccountSID

        func add(_ secret: ProviderCredential.OneOf_Secret) async throws -> String {
            var credential = ProviderCredential()
            credential.secret = secret
            return try await store.createCredential(
                account: account, friendlyName: "", secret: credential, nowMs: Timestamp.nowMs()
            ).sid.rawValue
        }

        func apns(_ change: (inout ApnsTokenKey) -> Void = { _ in }) async throws -> String {
            let key = try providers.makeAPNsKey()
            var secret = ApnsTokenKey()
            (secret.teamID, secret.keyID, secret.privateKeyPem) = (key.teamID, key.keyID, key.privateKeyPEM)
            change(&secret)
            return try await add(.apnsToken(secret))
        }

        func fcm() async throws -> (sid: String, email: String) {
            let json = try JSONParser.parse(Array(try providers.makeServiceAccount().utf8), .reply)
            var secret = FcmServiceAccount()
            secret.projectID = json["project_id"]?.stringValue ?? ""
            secret.clientEmail = json["client_email"]?.stringValue ?? ""
            secret.privateKeyID = json["private_key_id"]?.stringValue ?? ""
            secret.privateKeyPem = json["private_key"]?.stringValue ?? ""
            return (try await add(.fcm(secret)), secret.clientEmail)
        }

        func hms(secret: String? = nil) async throws -> String {
            let app = providers.makeHMSApp()
            var own = HmsAppSecret()
            (own.appID, own.appSecret) = (app.appID, secret ?? app.appSecret)
            return try await add(.hms(own))
        }

        func examine(
            _ only: Set<String>, _ configure: (inout PushGatewayConfiguration) -> Void = { _ in }
        ) async -> [String: CheckResult] {
            var gateway = gateway
            configure(&gateway)
            let producer = Ward.role(.producer) {
                $0.store = .file(path)
                $0.storeKeys = keys
            }
            let dispatcher = Ward.role(.dispatcher) { $0.gateway = gateway }
            return await Ward.examine([producer, dispatcher], only: only)
        }

        func fail(_ provider: SimulatedProvider, _ reason: String) {
            var faults = ProviderFaults()
            faults.errorShare = 1
            faults.errorReason = reason
            providers.setFaults(faults, provider)
        }
    }

    private func withRig(
        expired: Bool = false, hosts: [String] = ["localhost", "127.0.0.1"], _ body: (Rig) async throws -> Void
    ) async throws {
        try await Ward.withFolder { folder in
            var configuration = SimulatorConfiguration()
            configuration.certificateHosts = hosts
            try await SimulatedProviders.withRunning(configuration: configuration, logger: Ward.silent) {
                providers, addresses in
                let ca = folder.appending(path: "ca.pem").path
                try providers.certificates.writePEM(to: ca)
                var gateway = PushGatewayConfiguration()
                gateway[.apns] = addresses.apnsURL
                gateway[.apnsSandbox] = addresses.apnsURL
                gateway[.fcm] = addresses.fcmURL
                gateway[.fcmToken] = addresses.fcmTokenURL
                gateway[.hms] = addresses.hmsURL
                gateway[.hmsToken] = addresses.hmsTokenURL
                gateway.caFile = ca
                let (path, keys) = (folder.appending(path: "s.sqlite").path, KeyRing.random())
                let store = try ChallengeStore.sqlite(
                    path: path, keys: StoreKeys(store: keys, configuration: keys), logger: Ward.silent)
                let account = try await store.createAccount(nowMs: Timestamp.nowMs()).sid
                let rig = Rig(
                    providers: providers, gateway: gateway, store: store, path: path, keys: keys, account: account)
                do {
                    try await body(rig)
                    await store.close()
                } catch {
                    await store.close()
                    throw error
                }
            }
        }
    }

    private static let all: Set<String> = ["apns", "fcm", "hms", "clock", "egress"]

    @Test("good credentials pass, and no probe reaches a phone")
    func good() async throws {
        try await withRig { rig in
            _ = (try await rig.apns(), try await rig.fcm(), try await rig.hms())
            let results = await rig.examine(Self.all)
            #expect(results.ill.isEmpty, "\(results.ill.map { results[$0]?.findings ?? [] })")
            for check in Self.all { #expect(results.isPassed(check), "\(check)") }
        }
    }

    @Test("without credentials there is nothing to probe")
    func none() async throws {
        try await withRig { rig in
            let results = await rig.examine(["apns"])
            #expect(results.reasonForSkipping("apns") == "no provider credential is known")
        }
    }

    // MARK: APNs

    @Test("an APNs key that was revoked, and one with another team's id")
    func apnsKey() async throws {
        try await withRig { rig in
            var ids = ("", "")
            let revoked = try await rig.apns { ids = ($0.teamID, $0.keyID) }
            rig.providers.revokeAPNsKey(teamID: ids.0, keyID: ids.1)
            let results = await rig.examine(["apns"])
            results.expect("apns", "apns-key", saw: "InvalidProviderToken", mend: "Keys")
            #expect(results["apns"]?.findings.first?.mend.contains(revoked) == true)
        }
        try await withRig { rig in
            _ = try await rig.apns { $0.teamID = "ABCDEFGHIJ" }
            await rig.examine(["apns"]).expect("apns", "apns-key", saw: "InvalidProviderToken", mend: "team id")
        }
    }

    @Test(
        "what APNs refuses, by its reason",
        arguments: [
            ("BadEnvironmentKeyIdInToken", "apns-environment", "Sandbox"),
            ("ExpiredProviderToken", "apns-token-expired", "timedatectl"),
            ("Forbidden", "apns-refused", "Handling notification responses"),
            ("ServiceUnavailable", "no-answer", "egress"),
        ])
    func apns(reason: String, mistake: String, mend: String) async throws {
        try await withRig { rig in
            _ = try await rig.apns()
            rig.fail(.apn, reason)
            await rig.examine(["apns"]).expect("apns", mistake, saw: reason, mend: mend)
        }
    }

    @Test("a key that may not push to the app of the registered devices")
    func apnsTopic() async throws {
        try await withRig { rig in
            // Without a device no app is known, and the refusal of a made-up topic says that the key is good.
            let key = try rig.providers.makeAPNsKey(topics: ["com.example.bank"])
            var secret = ApnsTokenKey()
            (secret.teamID, secret.keyID, secret.privateKeyPem) = (key.teamID, key.keyID, key.privateKeyPEM)
            _ = try await rig.add(.apnsToken(secret))
            #expect(await rig.examine(["apns"]).isPassed("apns"))
        }
    }

    @Test("a key that is not a key")
    func apnsUnusable() async throws {
        try await withRig { rig in
            _ = try await rig.apns {
                $0.privateKeyPem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
            }
            await rig.examine(["apns"]).expect("apns", "key-unusable", mend: "create the credential again")
        }
    }

    @Test("an APNs certificate that has expired")
    func apnsCertificate() async throws {
        try await withRig { rig in
            try await Ward.withFolder { folder in
                let (certificate, key) = (folder.appending(path: "c").path, folder.appending(path: "k").path)
                try SimulatedCertificates(isExpired: true).writeIdentity(certificateFile: certificate, keyFile: key)
                var secret = ApnsCertificate()
                secret.certificatePem = try String(contentsOfFile: certificate, encoding: .utf8)
                secret.privateKeyPem = try String(contentsOfFile: key, encoding: .utf8)
                _ = try await rig.add(.apnsCertificate(secret))
            }
            await rig.examine(["apns"]).expect(
                "apns", "apns-certificate", saw: "ends on", mend: "renew the certificate")
        }
    }

    // MARK: FCM

    @Test(
        "what FCM refuses, by its reason",
        arguments: [
            ("SERVICE_DISABLED", "fcm-api-disabled", "gcloud services enable"),
            ("PERMISSION_DENIED", "fcm-permission", "roles/firebasecloudmessaging.admin"),
            ("SENDER_ID_MISMATCH", "fcm-sender", "google-services.json"),
            ("UNAUTHENTICATED", "fcm-account", "new key"), ("UNAVAILABLE", "no-answer", "egress"),
        ])
    func fcm(reason: String, mistake: String, mend: String) async throws {
        try await withRig { rig in
            _ = try await rig.fcm()
            rig.fail(.fcm, reason)
            await rig.examine(["fcm"]).expect("fcm", mistake, saw: reason, mend: mend)
        }
    }

    @Test("a service account whose key was deleted")
    func fcmAccount() async throws {
        try await withRig { rig in
            rig.providers.revokeServiceAccount(clientEmail: try await rig.fcm().email)
            await rig.examine(["fcm"]).expect("fcm", "fcm-account", saw: "invalid_grant", mend: "new key")
        }
    }

    // MARK: HMS

    @Test("an HMS secret of another app")
    func hmsSecret() async throws {
        try await withRig { rig in
            _ = try await rig.hms(secret: "of-another-app")
            await rig.examine(["hms"]).expect("hms", "hms-secret", saw: "client_secret", mend: "AppGallery Connect")
        }
    }

    @Test(
        "what HMS refuses, by its code",
        arguments: [("80200001", "hms-access-token", "hms.tokenUrl"), ("80300002", "hms-permission", "Push Kit")])
    func hms(code: String, mistake: String, mend: String) async throws {
        try await withRig { rig in
            _ = try await rig.hms()
            rig.fail(.hms, code)
            await rig.examine(["hms"]).expect("hms", mistake, saw: code, mend: mend)
        }
    }

    // MARK: Clock

    @Test("a clock that is off by ten seconds, and by two minutes", arguments: [(10, "off"), (120, "wrong")])
    func clock(seconds: Int, mistake: String) async throws {
        try await withRig { rig in
            var faults = ProviderFaults()
            faults.clockAheadSeconds = seconds
            for provider in [SimulatedProvider.fcm, .hms] { rig.providers.setFaults(faults, provider) }
            await rig.examine(["clock"]).expect("clock", mistake, saw: "s behind", mend: "timedatectl set-ntp true")
        }
    }

    @Test("one provider with a wrong clock does not accuse ours")
    func oneClock() async throws {
        try await withRig { rig in
            var faults = ProviderFaults()
            faults.clockAheadSeconds = 600
            rig.providers.setFaults(faults, .hms)
            #expect(await rig.examine(["clock"]).isPassed("clock"))
        }
    }

    // MARK: Egress

    @Test("a host that does not exist, a port that is closed, and a proxy that refuses")
    func egress() async throws {
        try await withRig { rig in
            let unknown = await rig.examine(["egress"]) { $0[.apns] = "https://no-such-host.invalid" }
            unknown.expect("egress", "unknown-host", saw: "apns.url", mend: "apns.url")
            let closed = try await DumbServer()
            await closed.stop()
            let refused = await rig.examine(["egress"]) { $0[.hms] = "https://127.0.0.1:\(closed.port)" }
            refused.expect("egress", "no-connection", saw: "hms.url", mend: "firewall")
            let proxy = try await DumbServer(
                saying: Array("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".utf8))
            let proxied = await rig.examine(["egress"]) { $0.proxyURL = "http://127.0.0.1:\(proxy.port)" }
            #expect(proxied["egress"]?.findings.count == 6)
            #expect(
                proxied["egress"]?.findings.allSatisfy {
                    $0.mistake == "no-connection" && $0.saw.contains("407") && $0.mend.contains("providers.proxy")
                } == true)
            await proxy.stop()
        }
    }

    @Test("an authority that is not trusted, and a peer that takes HTTP/2 away, as a proxy that inspects does")
    func inspected() async throws {
        try await withRig { rig in
            try await Ward.withFolder { folder in
                let other = folder.appending(path: "other.pem").path
                try SimulatedCertificates().writePEM(to: other)
                let untrusted = await rig.examine(["egress"]) { $0.caFile = other }
                #expect(untrusted["egress"]?.findings.allSatisfy { $0.mistake == "certificate" } == true)
                #expect(untrusted["egress"]?.findings.first?.mend.contains("providers.caFile") == true)
            }
            let inspecting = SimulatedReceiver(certificates: rig.providers.certificates) { _ in .close }
            let port = try await inspecting.start()
            let results = await rig.examine(["egress"]) { $0[.fcm] = "https://127.0.0.1:\(port)" }
            results.expect("egress", "no-http2", saw: "fcm.url", mend: "inspection")
            await inspecting.stop()
        }
    }
}
