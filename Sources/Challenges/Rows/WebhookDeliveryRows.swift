package import ChallengeModel

/// `webhook_endpoints`, `webhook_deliveries` and `webhook_attempts`.
package protocol WebhookDeliveryRows {
    func endpoint(_ webhook: WebhookSID) throws -> WebhookEndpoint?
    /// The row of its webhook; inserts this one when there is none. No other transaction changes the webhook's health
    /// or its stored deliveries until this transaction has ended.
    func locked(_ endpoint: WebhookEndpoint) throws -> WebhookEndpoint
    /// Those of a service.
    func endpoints(service: ServiceSID) throws -> [WebhookEndpoint]
    /// Inserts it, or replaces the row of its webhook.
    func put(_ endpoint: WebhookEndpoint) throws
    func deleteEndpoint(_ webhook: WebhookSID) throws

    /// - Returns: false when the webhook has a delivery of this event already.
    func insert(_ delivery: WebhookDelivery) throws -> Bool
    func delivery(_ id: Int64) throws -> WebhookDelivery?
    func delivery(event: String, webhook: WebhookSID) throws -> WebhookDelivery?
    /// Writes what changes: state, due time, failures, first failure, status, code and reason.
    /// - Parameter endedMs: when it left `waiting`; nil: it has not.
    func update(_ delivery: WebhookDelivery, endedMs: Int64?) throws
    func deleteDelivery(_ id: Int64) throws
    /// Whether the lane has a delivery in state `waiting`.
    func hasWaiting(webhook: WebhookSID, subject: String) throws -> Bool
    /// Gives the oldest waiting delivery of the lane a due time, unless it has one.
    func promote(webhook: WebhookSID, subject: String, dueMs: Int64) throws
    /// The number of deliveries of a webhook in state `waiting`, counted up to `most`.
    func countWaiting(webhook: WebhookSID, most: Int) throws -> Int
    /// Lanes with a due time, summed up by partition and webhook.
    func backlogs() throws -> [WebhookBacklog]
    /// The first of their lanes, by due time.
    func dueDeliveries(
        partition: Int32, webhook: WebhookSID, untilMs: Int64, limit: Int
    ) throws -> [WebhookDelivery]
    /// Deliveries that are due later are due at `nowMs`.
    func bringForward(partition: Int32, webhook: WebhookSID, nowMs: Int64) throws
    /// The newest first.
    func deliveries(webhook: WebhookSID, state: WebhookDelivery.State?, page: PageRequest) throws
        -> Page<WebhookDelivery>
    /// Those that are not waiting, the oldest first, of events stored at or after `sinceMs`.
    func endedDeliveries(webhook: WebhookSID, sinceMs: Int64, limit: Int) throws -> [WebhookDelivery]
    /// Those that ended before `untilMs`.
    func deleteEndedDeliveries(untilMs: Int64, limit: Int) throws

    func insert(_ attempt: WebhookAttempt) throws
    /// The newest first.
    func attempts(webhook: WebhookSID, page: PageRequest) throws -> Page<WebhookAttempt>
    func deleteAttempts(untilMs: Int64, limit: Int) throws
}
