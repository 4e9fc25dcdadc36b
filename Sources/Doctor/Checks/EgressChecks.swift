import PushGateway
import PushProviders
import ServiceSupport

extension Doctor {
    // MARK: 27

    static let egressChecks = [
        Check(
            "egress", "The providers' hosts are reached, over HTTP/2 and with their own certificates",
            roles: [.dispatcher], looks: [.egress, .probes], mistakes: [noName, noWay, certificate, noHTTP2]
        ) { facts in
            switch facts.egress {
            case .not(let because): return .skipped(because)
            case .seen(let looks):
                // A provider without a credential need not be reached; without any credential, all may be needed.
                let used = Set((facts.probes.value ?? []).map(\.platform))
                let needed = PushProviders.all.filter { used.isEmpty || used.contains($0.platform) }.flatMap(
                    \.endpoints)
                let findings = needed.compactMap { endpoint in looks[endpoint].flatMap { finding(endpoint, $0) } }
                return .judged(findings, else: "\(needed.count) hosts")
            }
        }
    ]

    private static func finding(_ endpoint: ProviderEndpoint, _ look: TLSLook) -> Finding? {
        let values = ["setting": endpoint.setting]
        switch look {
        case .good(let name):
            guard endpoint.kind == .pushes, name != "h2" else { return nil }
            return noHTTP2.found("\(endpoint.setting): the peer agreed to \(name ?? "no protocol"), not to h2", values)
        case .noAddress(let said): return noName.found("\(endpoint.setting): \(said)", values)
        case .certificate(let said): return certificate.found("\(endpoint.setting): \(said)", values)
        case .unreachable(let said): return noWay.found("\(endpoint.setting): \(said)", values)
        }
    }

    private static let noName = Mistake(
        "unknown-host", .unreachable, sees: "the name of a provider's host, or of the proxy, has no address",
        means: "pushes to the host of <setting> wait",
        mend: "correct <setting> or providers.proxy, or the name servers of this host")
    private static let noWay = Mistake(
        "no-connection", .unreachable, sees: "TCP is refused or not answered, or the proxy refuses CONNECT",
        means: "pushes to the host of <setting> wait",
        mend:
            "allow the hosts of docs/configuration.md in the firewall and in the proxy (APNs: port 443 or 2197), or set providers.proxy with its user and password"
    )
    private static let certificate = Mistake(
        "certificate", .failure, sees: "the certificate is expired, for another name, or of an unknown authority",
        means: "a proxy that inspects TLS stands in the way, or providers.caFile is not the authority of <setting>",
        mend:
            "exempt the providers' hosts from inspection; otherwise set providers.caFile to the PEM file of the proxy's authority"
    )
    private static let noHTTP2 = Mistake(
        "no-http2", .failure, sees: "the peer does not agree to `h2` in the handshake (ALPN)",
        means: "a proxy that inspects TLS takes HTTP/2 away; APNs is not reached over HTTP/1.1",
        mend: "exempt the hosts of <setting> from inspection, or let the proxy pass HTTP/2")
}
