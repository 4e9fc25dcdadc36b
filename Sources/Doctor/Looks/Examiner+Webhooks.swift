import GuardedHTTP
import Storage

extension Examiner {
    /// At once.
    private static let mostAtOnce = 8

    /// The enabled webhooks of the store: name, addresses and handshake; nothing is posted.
    func lookAtWebhooks(_ facts: Facts) async -> Note {
        guard let way = examination.roles.lazy.compactMap(\.webhooks).first else {
            return { $0.webhooks = .not("no webhook relay is examined") }
        }
        guard let stored = try? facts.store.value?.get() else {
            return { $0.webhooks = .not("the store could not be read") }
        }
        guard !stored.webhooks.isEmpty else { return { $0.webhooks = .not("there is no webhook") } }
        let client: GuardedClient
        do {
            client = try GuardedClient(
                rules: way.rules, servers: way.nameServers ?? NameServers(), caFile: way.caFile, identity: way.identity)
        } catch {
            return { $0.webhooks = .not("the client cannot be made: \(error)") }
        }
        let patience = patience
        let seen = await withTaskGroup(of: WebhookFacts.self) { group in
            var left = stored.webhooks[...]
            func add() {
                guard let webhook = left.popFirst() else { return }
                group.addTask { await Self.look(at: webhook, client, patience) }
            }
            for _ in 0..<Self.mostAtOnce { add() }
            var seen: [WebhookFacts] = []
            while let one = await group.next() {
                seen.append(one)
                add()
            }
            return seen.sorted { $0.webhook.sid < $1.webhook.sid }
        }
        await client.close()
        return { $0.webhooks = .seen(seen) }
    }

    private static func look(
        at webhook: StoreFacts.Webhook, _ client: GuardedClient, _ patience: Duration
    ) async -> WebhookFacts {
        var facts = WebhookFacts(webhook: webhook, host: "")
        do throws(CustomerURLError) {
            let url = try client.url(webhook.url)
            facts.host = url.hostText
            do throws(GuardedHTTPError) {
                try await client.look(url, connectTimeout: patience, readTimeout: patience)
            } catch {
                facts.fault =
                    switch error {
                    case .refused(let detail): .refused(detail)
                    case .tls(let fault, let text):
                        .certificate(
                            fault == .name ? "the certificate is for another name" : text)
                    case .nameNotFound: .unreachable("the name has no address")
                    case .nameServerSilent: .unreachable("no name server has answered")
                    case .connectTimeout, .readTimeout: .unreachable("no answer within \(patience)")
                    case .connect(let text), .notHTTP(let text): .unreachable(text)
                    case .closed: .unreachable("the connection was closed")
                    case .busy, .cancelled: .unreachable("it was not tried")
                    }
            }
        } catch {
            facts.fault = .refused("\(error)")
        }
        return facts
    }
}
