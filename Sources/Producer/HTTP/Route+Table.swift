extension Route {
    /// All routes: paths, methods, allowed callers and handlers. Path matching, 404 and 405, `Allow`, the checks of
    /// roles and tokens, the metric label `route` and the address for devices follow from this table. Tests compare it
    /// with `docs/api.md` ("Who may call what") and `docs/openapi.json`.
    ///
    /// A POST or DELETE is for role `full` and a GET for `full` and `read`, unless the line says otherwise.
    static let table: [Route] = [
        Route(
            "/v2/Services",
            .get([.full, .read], .none, .list) { try await $0.listServices($1) },
            .post { try await $0.createService($1) }),
        Route(
            "/v2/Services/{sid}",
            .get { try await $0.fetchService($1, $1.service) },
            .post { try await $0.updateService($1, $1.service) },
            .delete { try await $0.deleteService($1, $1.service) }),
        // A caller that can create access and session tokens can approve, so keys of role `send` may not create them.
        Route(
            "/v2/Services/{sid}/AccessTokens",
            .post([.full, .enrol]) { try await $0.createAccessToken($1, $1.service) }),
        Route(
            "/v2/Services/{sid}/AccessTokens/{sid}",
            .get([.full, .send, .enrol, .read]) { try await $0.fetchAccessToken($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/SessionTokens",
            .post([.full, .enrol]) { try await $0.createSessionToken($1, $1.service) }),
        Route(
            "/v2/Services/{sid}/Webhooks",
            .get([.full, .read], .none, .list) { try await $0.listWebhooks($1, $1.service) },
            .post { try await $0.createWebhook($1, $1.service) }),
        Route(
            "/v2/Services/{sid}/Webhooks/{sid}",
            .get { try await $0.fetchWebhook($1, $1.service, $1.item) },
            .post { try await $0.updateWebhook($1, $1.service, $1.item) },
            .delete { try await $0.deleteWebhook($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/Webhooks/{sid}/Secrets",
            .post { try await $0.createWebhookSecret($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/Webhooks/{sid}/Attempts",
            .get([.full, .read], .none, .list) { try await $0.listWebhookAttempts($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/Webhooks/{sid}/Deliveries",
            .get([.full, .read], .none, .list) { try await $0.listWebhookDeliveries($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/Webhooks/{sid}/Replays",
            .post { try await $0.createWebhookReplay($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/Webhooks/{sid}/Tests",
            .post { try await $0.createWebhookTest($1, $1.service, $1.item) }),
        Route(
            "/v2/Services/{sid}/Entities",
            .get([.full, .read], .none, .list) { try await $0.listEntities($1, $1.service) },
            .post { try await $0.createEntity($1, $1.service) }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}",
            .get { try await $0.fetchEntity($1, $1.service, $1.identity) },
            .delete { try await $0.deleteEntity($1, $1.service, $1.identity) }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Limits",
            .get { try await $0.fetchLimits($1, $1.service, $1.identity) }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Factors",
            .get([.full, .send, .enrol, .read], .none, .list) {
                try await $0.listFactors($1, $1.service, $1.identity)
            },
            .post([.full, .enrol], .accessToken) { try await $0.createFactor($1, $1.service, $1.identity) }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Factors/{sid}", of: .factor,
            .get([.full, .send, .enrol, .read], .factorToken) {
                try await $0.fetchFactor($1, $1.service, $1.identity, $1.item)
            },
            .post(.full, .factorToken) { try await $0.updateFactor($1, $1.service, $1.identity, $1.item) },
            .delete(.full, .factorToken, .removesCaller) {
                try await $0.deleteFactor($1, $1.service, $1.identity, $1.item)
            }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Challenges",
            .get([.full, .send, .read], .identityToken, .list) {
                try await $0.listChallenges($1, $1.service, $1.identity)
            },
            .post([.full, .send], .none, .takesIdempotencyKey) {
                try await $0.createChallenge($1, $1.service, $1.identity)
            }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}", of: .challenge,
            .get([.full, .send, .read], .identityToken, .waits) {
                try await $0.pollChallenge($1, $1.service, $1.identity, $1.item)
            },
            // Backends use it to cancel. Their answers are refused, because only devices may answer.
            .post([.full, .send], .identityToken) {
                try await $0.answerChallenge($1, $1.service, $1.identity, $1.item)
            }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Notifications",
            .post([.full, .send]) { try await $0.createNotification($1, $1.service, $1.identity, $1.item) }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Receipts", of: .challenge,
            .post([.full, .send], .identityToken) {
                try await $0.createReceipt($1, $1.service, $1.identity, $1.item)
            }),
        Route(
            "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Timeline",
            .get([.full, .send, .read]) { try await $0.fetchTimeline($1, $1.service, $1.identity, $1.item) }),
        Route("/v2/Receipts", .post([], .receiptToken) { try await $0.redeemReceiptToken($1) }),
        Route("/v2/HmsReceipts", .post([], .signature) { try await $0.takeHMSReceipts($1) }),
        Route(
            "/v1/Credentials",
            .get([.full, .read], .none, .list) { try await $0.listCredentials($1) },
            .post { try await $0.createCredential($1) }),
        Route(
            "/v1/Credentials/{sid}",
            .get { try await $0.fetchCredential($1, $1.item) },
            .delete { try await $0.deleteCredential($1, $1.item) }),
        Route("/.well-known/beckon-event-keys", .get([], .open) { $0.eventKeys($1) }),
        Route("/v1/AuditEvents", .get(.full, .none, .list) { try await $0.listAuditEvents($1) }),
        Route("/v1/Alerts", .get([.full, .read], .none, .list) { try await $0.listAlerts($1) }),
        Route("/v1/Alerts/{sid}", .get { try await $0.fetchAlert($1, $1.item) }),
        Route(
            "/v1/Debugger",
            .get { try await $0.fetchDebugger($1) },
            .post { try await $0.setDebugger($1) },
            .delete { try await $0.deleteDebugger($1) }),
    ]
}
