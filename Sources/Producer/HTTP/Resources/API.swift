import ChallengeModel
import Challenges
import GuardedHTTP
import Logging

/// The dependencies of the handlers in ``Route/table``.
struct API: Sendable {
    let store: ChallengeStore
    let authenticator: Authenticator
    let recordKeys: KeyRing
    let pressure: OutboxPressure
    let recentReceipts = RecentReceipts()
    let watch: ChallengeWatch
    let refusals: Refusals
    /// Nil: all HMS delivery receipts are refused.
    var hmsCallback: HMSCallbackKeys?
    /// Nil: events are not signed.
    var eventSigner: EventSigner?
    /// Which hosts and ports the URLs of webhooks may name.
    var outbound = OutboundRules()
    let metrics: ProducerMetrics
    let log: StoreLog

    func show(_ call: APICall) -> Representation {
        var representation = Representation(baseURL: call.baseURL)
        if case .backend(let principal) = call.caller { representation.showsPushTokens = principal.role == .full }
        return representation
    }

    /// The service, if it belongs to the account.
    /// - Throws: 20404, for a service of another account and for an unknown one.
    @discardableResult
    func service(_ text: String, account: AccountSID, call: APICall) async throws -> Service {
        let sid: ServiceSID = try call.sid(text)
        guard let service = try await store.service(sid, account: account) else { throw APIError.notFound }
        return service
    }

    /// The entity, if the account's service has it.
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
            .unavailable, "The queue to Kafka is full: nothing was created, retry",
            headers: ["Retry-After": "5"])
    }
}
