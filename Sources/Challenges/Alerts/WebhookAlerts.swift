import ChallengeModel

/// The alerts about webhooks. A failure of the debugger webhook raises none: it would be told to the webhook that
/// fails.
extension Decision {
    /// An attempt has failed, and the fault is not ours.
    func alert(about failure: WebhookFailure, of delivery: WebhookDelivery) throws {
        guard !failure.isOurs, !delivery.isForDebugger,
            let webhook = try rows.webhook(delivery.webhook, service: delivery.service)
        else { return }
        var details = AlertDetails()
        details.words = [
            "event_id": delivery.eventID, "event_type": delivery.eventType, "reason": failure.reason,
        ]
        // Nothing was sent to an address that is refused. Its URL may be one that hides a password.
        if failure.reason != WebhookFailure.refused {
            details.requestMethod = "POST"
            details.requestURL = webhook.shownURL
            if failure.status != 0 { details.responseStatus = failure.status }
            if !failure.body.isEmpty { details.responseBody = failure.body }
        }
        try raise(
            RaisedAlert(
                account: webhook.account, service: webhook.service,
                cause: "webhook \(webhook.sid) \(failure.code) \(failure.reason) \(failure.status)",
                resource: webhook.sid.rawValue, code: failure.code == 0 ? 60_330 : failure.code, level: .warning,
                text: failure.text,
                details: details))
    }

    /// Events of a webhook were given up, or the webhook is disabled.
    func alert(about webhook: Webhook, isDisabled: Bool, _ health: WebhookHealth) throws {
        var details = AlertDetails()
        details.requestMethod = "POST"
        details.requestURL = webhook.shownURL
        if health.lastStatus != 0 { details.responseStatus = health.lastStatus }
        details.words = ["error_code": String(health.lastCode), "reason": health.lastReason]
        if isDisabled { details.words["disabled_reason"] = health.disabledReason ?? "failing" }
        try raise(
            RaisedAlert(
                account: webhook.account, service: webhook.service,
                cause: "webhook \(webhook.sid) \(isDisabled ? "disabled" : "exhausted")",
                resource: webhook.sid.rawValue, code: 60_330,
                text: isDisabled
                    ? "A webhook is disabled. Its events are held until it is enabled and they are sent again."
                    : "Events for a webhook were given up.", details: details))
    }
}

extension WebhookFailure {
    fileprivate var text: String {
        switch reason {
        case Self.refused: "The address of a webhook is refused. No request was sent."
        case "no-consent": "The receiver of a webhook did not consent to get events."
        default: "A webhook did not accept an event."
        }
    }
}

extension Webhook {
    /// Without query and fragment: customers keep secrets in queries.
    var shownURL: String { String(url.prefix { $0 != "?" && $0 != "#" }) }
}
