import ChallengeModel
import PushGateway
import ServiceSupport
import Testing

@testable import Doctor

/// What no simulator shows: answers that need a registered device of another team, a certificate that Apple refuses,
/// and Web Push, for which this version has no provider. The answers' words are those of the providers.
@Suite("Judging the answers of providers")
struct ProviderJudgementTests {
    private func results(_ probes: [CredentialProbe], _ check: Check) -> [String: CheckResult] {
        var facts = Facts(Examination([ExaminedRole(.dispatcher)]), nowMs: 1_800_000_000_000)
        facts.probes = .seen(probes)
        return [
            check.id: CheckResult(id: check.id, title: "", verdict: Doctor.verdict(check, facts), took: .zero)
        ]
    }

    private func apns(_ reason: String, status: Int, _ disposition: Disposition, known: Bool = true) -> CredentialProbe
    {
        CredentialProbe(
            sid: "CR1", platform: .apn, hasKnownApp: known,
            answer: PushAnswer(disposition: disposition, reason: reason, status: status))
    }

    @Test(
        "what APNs says of a topic, a certificate and a key",
        arguments: [
            ("TopicDisallowed", Disposition.credentialFault, "apns-topic", "bundle id"),
            ("BadTopic", .rejected, "apns-topic", "bundle id"),
            ("BadCertificateEnvironment", .credentialFault, "apns-environment", "Sandbox"),
            ("BadCertificate", .credentialFault, "apns-certificate", "renew the certificate"),
            ("MissingProviderToken", .credentialFault, "apns-key", "team id"),
            ("timeout", .unknown, "no-answer", "egress"), ("connection", .deferred, "no-answer", "egress"),
        ])
    func apns(reason: String, disposition: Disposition, mistake: String, mend: String) {
        results([apns(reason, status: 400, disposition)], Doctor.apnsCheck).expect(
            "apns", mistake, saw: "CR1: HTTP 400 \(reason)", mend: mend)
    }

    @Test(
        "a device that does not exist says that key, team and topic are good; so does a made-up topic that is refused",
        arguments: [
            ("BadDeviceToken", Disposition.rejected, true), ("Unregistered", .tokenDead, true),
            ("TopicDisallowed", .credentialFault, false),
        ])
    func good(reason: String, disposition: Disposition, known: Bool) {
        #expect(
            results([apns(reason, status: 400, disposition, known: known)], Doctor.apnsCheck).isPassed("apns"))
    }

    @Test("a certificate that ends soon")
    func soon() {
        var probe = apns("BadDeviceToken", status: 400, .rejected)
        probe.expiresAtMs = 1_800_000_000_000 + 3 * 86_400_000
        results([probe], Doctor.apnsCheck).expect(
            "apns", "apns-certificate-soon", saw: "ends on 2027-01-18", mend: "renew the certificate")
    }

    @Test("a VAPID key pair that does not match")
    func vapid() {
        let probe = CredentialProbe(
            sid: "CR1", platform: .webpush, fault: "public_key is not the public key of private_key")
        results([probe], Doctor.webPushCheck).expect(
            "web-push", "vapid-key", saw: "public_key", mend: "one VAPID key pair")
    }

    @Test("one bad credential among good ones is named alone")
    func one() {
        let good = CredentialProbe(
            sid: "CR1", platform: .fcm,
            answer: PushAnswer(disposition: .rejected, reason: "INVALID_ARGUMENT", status: 400))
        let bad = CredentialProbe(
            sid: "CR2", platform: .fcm,
            answer: PushAnswer(disposition: .credentialFault, reason: "PERMISSION_DENIED", status: 403))
        results([good, bad], Doctor.fcmCheck).expect(
            "fcm", "fcm-permission", saw: "CR2", mend: "roles/firebasecloudmessaging.admin")
    }
}
