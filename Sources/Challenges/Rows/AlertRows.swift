package import ChallengeModel

/// `alerts`, `debuggers` and `webhook_consents`, the tables of step 15.
package protocol AlertRows {
    /// Whether the store has these tables. A database that is served by two versions during an upgrade does not have
    /// them yet; the other verbs are called only when it has.
    func keepsAlerts() throws -> Bool
    /// The newest alert of a cause, with its place among the alerts of this cause.
    func newestAlert(account: AccountSID, cause: String) throws -> (number: Int64, alert: Alert)?
    /// The number of alerts of an account that were created at or after `sinceMs`, counted up to `most`.
    func countAlerts(account: AccountSID, sinceMs: Int64, most: Int) throws -> Int
    /// - Parameters:
    ///   - cause: at most 128 bytes.
    ///   - number: one more than that of the cause's newest alert; 1 for the first.
    /// - Returns: false when the cause has an alert of this number already.
    func insert(_ alert: Alert, cause: String, number: Int64) throws -> Bool
    /// Counts one more event of an alert.
    func countEvent(of alert: AlertSID, nowMs: Int64) throws
    func alert(_ sid: AlertSID, account: AccountSID) throws -> Alert?
    /// The newest first.
    func alerts(_ filter: AlertFilter, page: PageRequest) throws -> Page<Alert>

    func debugger(_ account: AccountSID) throws -> Debugger?
    /// Inserts it, or replaces that of its account.
    func put(_ debugger: Debugger) throws
    func deleteDebugger(_ account: AccountSID) throws

    /// The webhooks of a service whose receivers must consent before events are sent to them.
    func consents(service: ServiceSID) throws -> Set<WebhookSID>
    func insertConsent(_ webhook: WebhookSID, account: AccountSID, service: ServiceSID) throws
    func deleteConsent(_ webhook: WebhookSID) throws
}
