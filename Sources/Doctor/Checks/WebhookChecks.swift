import ServiceSupport
import Storage

extension Doctor {
    // MARK: 28

    static let webhookChecks = [
        Check(
            "webhooks", "The endpoints of webhooks are public, reached, and quick", roles: [.webhooks],
            looks: [.webhooks, .store], mistakes: [refusedEndpoint, endpointCertificate, endpointAway, slow]
        ) { facts in
            switch facts.webhooks {
            case .not(let because): return .skipped(because)
            case .seen(let webhooks):
                let findings = webhooks.flatMap { one -> [Finding] in
                    let values = ["webhook": one.webhook.sid, "host": one.host]
                    let name = one.host.isEmpty ? one.webhook.sid : "\(one.webhook.sid) (\(one.host))"
                    switch one.fault {
                    case .refused(let said): return [refusedEndpoint.found("\(name): \(said)", values)]
                    case .certificate(let said): return [endpointCertificate.found("\(name): \(said)", values)]
                    case .unreachable(let said): return [endpointAway.found("\(name): \(said)", values)]
                    case nil:
                        guard one.webhook.slowestMs > 5000 else { return [] }
                        return [
                            slow.found("\(name): an answer took \(one.webhook.slowestMs) ms", values)
                        ]
                    }
                }
                return .judged(findings, else: webhooks.count == 1 ? "1 webhook" : "\(webhooks.count) webhooks")
            }
        }
    ]

    private static let refusedEndpoint = Mistake(
        "private-address", .failure, sees: "the URL, or an address behind its name, is not public",
        means: "the relay never connects to <host>: a customer's URL must not lead into this network",
        mend:
            "if the endpoint is meant to be inside, set webhooks.allowedHosts to <host> or to its network; otherwise let the customer correct the URL or its DNS"
    )
    private static let endpointCertificate = Mistake(
        "endpoint-certificate", .failure, sees: "the certificate of the endpoint does not verify",
        means: "no event is posted to <host>",
        mend:
            "the customer renews the certificate, or serves the whole chain; for an authority of your own set webhooks.caFile"
    )
    private static let endpointAway = Mistake(
        "endpoint-unreachable", .warning, sees: "the endpoint is not reached",
        means: "events for the webhook <webhook> wait, and are given up after their retries",
        mend: "tell the customer; look into the attempts: GET /v2/Services/…/Webhooks/<webhook>/Attempts")
    private static let slow = Mistake(
        "slow", .warning, sees: "one of the last 20 answers took more than 5 s",
        means: "events for the webhook <webhook> are delivered late",
        mend: "let the customer answer first and work afterwards; docs/webhooks.md")
}
