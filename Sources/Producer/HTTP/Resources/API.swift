import ChallengeModel
import Challenges
import Logging

/// What the resources stand on, and which handler answers which call.
struct API: Sendable {
    let store: ChallengeStore
    let authenticator: Authenticator
    let recordKeys: KeyRing
    let pressure: OutboxPressure
    let recentReceipts = RecentReceipts()
    let watch: ChallengeWatch
    let refusals: Refusals
    /// Nil: nobody may post HMS's delivery receipts.
    var hmsCallback: HMSCallbackKeys?
    let metrics: ProducerMetrics
    let log: StoreLog

    /// - Precondition: the route has the method.
    func handle(_ call: APICall) async throws -> APIReply {
        switch (call.route, call.method) {
        case (.services, "GET"): try await listServices(call)
        case (.services, _): try await createService(call)
        case (.service(let sid), "GET"): try await fetchService(call, sid)
        case (.service(let sid), "DELETE"): try await deleteService(call, sid)
        case (.service(let sid), _): try await updateService(call, sid)
        case (.accessTokens(let service), _): try await createAccessToken(call, service)
        case (.accessToken(let service, let sid), _): try await fetchAccessToken(call, service, sid)
        case (.sessionTokens(let service), _): try await createSessionToken(call, service)
        case (.webhooks(let service), "GET"): try await listWebhooks(call, service)
        case (.webhooks(let service), _): try await createWebhook(call, service)
        case (.webhook(let service, let sid), "GET"): try await fetchWebhook(call, service, sid)
        case (.webhook(let service, let sid), "DELETE"): try await deleteWebhook(call, service, sid)
        case (.webhook(let service, let sid), _): try await updateWebhook(call, service, sid)
        case (.entities(let service), "GET"): try await listEntities(call, service)
        case (.entities(let service), _): try await createEntity(call, service)
        case (.entity(let service, let identity), "DELETE"): try await deleteEntity(call, service, identity)
        case (.entity(let service, let identity), _): try await fetchEntity(call, service, identity)
        case (.factors(let service, let identity), "GET"): try await listFactors(call, service, identity)
        case (.factors(let service, let identity), _): try await createFactor(call, service, identity)
        case (.factor(let service, let identity, let sid), "GET"):
            try await fetchFactor(call, service, identity, sid)
        case (.factor(let service, let identity, let sid), "DELETE"):
            try await deleteFactor(call, service, identity, sid)
        case (.factor(let service, let identity, let sid), _): try await updateFactor(call, service, identity, sid)
        case (.challenges(let service, let identity), "GET"): try await listChallenges(call, service, identity)
        case (.challenges(let service, let identity), _): try await createChallenge(call, service, identity)
        case (.challenge(let service, let identity, let sid), "GET"):
            try await pollChallenge(call, service, identity, sid)
        case (.challenge(let service, let identity, let sid), _):
            try await answerChallenge(call, service, identity, sid)
        case (.notifications(let service, let identity, let sid), _):
            try await createNotification(call, service, identity, sid)
        case (.challengeReceipts(let service, let identity, let sid), _):
            try await createReceipt(call, service, identity, sid)
        case (.timeline(let service, let identity, let sid), _):
            try await fetchTimeline(call, service, identity, sid)
        case (.receipts, _): try await redeemReceiptToken(call)
        case (.hmsReceipts, _): try await takeHMSReceipts(call)
        case (.auditEvents, _): try await listAuditEvents(call)
        case (.credentials, "GET"): try await listCredentials(call)
        case (.credentials, _): try await createCredential(call)
        case (.credential(let sid), "DELETE"): try await deleteCredential(call, sid)
        case (.credential(let sid), _): try await fetchCredential(call, sid)
        }
    }

    func show(_ call: APICall) -> Representation {
        var representation = Representation(baseURL: call.baseURL)
        if case .backend(let principal) = call.caller { representation.showsPushTokens = principal.role == .full }
        return representation
    }

    /// The service when it is the account's.
    /// - Throws: 20404, for another account's as for none.
    @discardableResult
    func service(_ text: String, account: AccountSID, call: APICall) async throws -> Service {
        let sid: ServiceSID = try call.sid(text)
        guard let service = try await store.service(sid, account: account) else { throw APIError.notFound }
        return service
    }

    /// The entity when the service, which is the account's, has it.
    @discardableResult
    func entity(
        _ identity: String, service: ServiceSID, account: AccountSID
    ) async throws -> Entity {
        guard let entity = try await store.entity(account: account, service: service, identity: identity) else {
            throw APIError.notFound
        }
        return entity
    }

    /// - Throws: 20503 with Retry-After while the outbox is over its limit.
    func admit() throws(APIError) {
        guard pressure.isOver else { return }
        metrics.shed()
        throw APIError(
            .unavailable, "The queue to Kafka is full: nothing was created, try again",
            headers: ["Retry-After": "5"])
    }
}
