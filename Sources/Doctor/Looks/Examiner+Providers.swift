import ChallengeModel
import Foundation
import NIOSSL
import PushGateway
import PushProviders
import Storage
import Wire

extension Examiner {
    private static let mostProbes = 50
    /// What APNs gives no device: zeros.
    private static let noDevice = String(repeating: "0", count: 64)
    /// What a probe names as its app when no device is registered with the credential.
    static let unknownApp = "beckon.doctor.unknown"

    /// One probe with each credential of the store, or of topic `configuration`.
    func probe(_ facts: Facts, _ gateway: Seen<PushGateway>) async -> Note {
        guard case .seen(let gateway) = gateway else {
            if case .not(let because) = gateway { return { $0.probes = .not(because) } }
            return { _ in }
        }
        let stored = (try? facts.store.value?.get())
        let credentials = Array(
            (stored?.credentials ?? facts.configurationTopic.value?.credentials ?? []).prefix(Self.mostProbes))
        guard !credentials.isEmpty else {
            return { $0.probes = .not("no provider credential is known") }
        }
        let patience = patience
        let probes = await withTaskGroup(of: CredentialProbe?.self) { group in
            for credential in credentials {
                let app = stored?.apps[credential.credentialSid]
                group.addTask { await Self.probe(credential, app: app, gateway, patience) }
            }
            var probes: [CredentialProbe] = []
            for await probe in group { if let probe { probes.append(probe) } }
            return probes.sorted { $0.sid < $1.sid }
        }
        return { $0.probes = .seen(probes) }
    }

    /// - Returns: nil for a credential of a provider that this version does not know.
    private static func probe(
        _ credential: ProviderCredential, app: String?, _ gateway: PushGateway, _ patience: Duration
    ) async -> CredentialProbe? {
        let sid = credential.credentialSid
        let open: any OpenCredential
        do {
            open = try PushProviders.open(credential)
        } catch {
            guard let platform = credential.platformOfSecret else { return nil }
            return CredentialProbe(sid: sid, platform: platform, fault: "\(error)")
        }
        var probe = CredentialProbe(sid: sid, platform: open.platform, hasKnownApp: app != nil)
        if case .clientCertificate(let certificate, _) = open.proof,
            let leaf = try? NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)).first
        {
            probe.expiresAtMs = Int64(leaf.notValidAfter) * 1000
        }
        gateway.setCredential(credential)
        let nowMs = Timestamp.nowMs()
        var push = Push(
            pushID: UUID().uuidString.lowercased(), kind: .visible,
            challengeSID: "YC" + String(repeating: "0", count: 32),
            factorSID: "YF" + String(repeating: "0", count: 32), dispatchID: "doctor",
            message: "beckon doctor", expiresAtMs: nowMs + patience.wholeMilliseconds, receiptToken: "doctor",
            platform: open.platform, pushToken: noDevice, appID: app ?? unknownApp,
            credentialSID: sid, environment: .environmentUnspecified, registeredAtMs: nowMs)
        push.isOnlyChecked = true
        // Never stored for a device that is offline.
        push.heldUntilMs = 0
        let one = push
        probe.answer = await withCheckedContinuation { continuation in
            gateway.send(one) { continuation.resume(returning: $0) }
        }
        return probe
    }

    // MARK: Clock

    func lookAtClocks(_ gateway: Seen<PushGateway>) async -> Note {
        guard case .seen(let gateway) = gateway else {
            if case .not(let because) = gateway { return { $0.clock = .not(because) } }
            return { _ in }
        }
        let patience = patience
        let clocks = await withTaskGroup(of: ClockFacts?.self) { group in
            for endpoint in PushProviders.endpoints where endpoint.kind == .accessTokens {
                group.addTask {
                    guard let date = try? await gateway.date(of: endpoint, patience: patience) else { return nil }
                    return ClockFacts(host: endpoint.setting, aheadMs: Self.ahead(date))
                }
            }
            var clocks: [ClockFacts] = []
            for await clock in group { if let clock { clocks.append(clock) } }
            return clocks.sorted { $0.host < $1.host }
        }
        return { $0.clock = clocks.isEmpty ? .not("no token endpoint has answered with a Date") : .seen(clocks) }
    }

    /// By how much our clock is ahead at least: `Date` has whole seconds, and the answer was under way.
    static func ahead(_ date: ProviderDate) -> Int64 {
        if date.sentAtMs > date.dateMs + 1000 { return date.sentAtMs - (date.dateMs + 1000) }
        return min(date.receivedAtMs - date.dateMs, 0)
    }

    // MARK: Egress

    func lookAtEgress(_ gateway: Seen<PushGateway>) async -> Note {
        guard case .seen(let gateway) = gateway else {
            if case .not(let because) = gateway { return { $0.egress = .not(because) } }
            return { _ in }
        }
        let patience = patience
        let looks = await withTaskGroup(of: (ProviderEndpoint, TLSLook).self) { group in
            for endpoint in PushProviders.endpoints {
                group.addTask { (endpoint, await gateway.look(at: endpoint, patience: patience)) }
            }
            var looks: [ProviderEndpoint: TLSLook] = [:]
            for await (endpoint, look) in group { looks[endpoint] = look }
            return looks
        }
        return { $0.egress = .seen(looks) }
    }
}

extension ProviderCredential {
    /// Nil: none that this version knows.
    var platformOfSecret: Platform? {
        switch secret {
        case .apnsToken, .apnsCertificate: .apn
        case .fcm: .fcm
        case .hms: .hms
        case .other(let secret): PushProviders.provider(ofType: secret.type)?.platform
        case nil: nil
        }
    }
}
