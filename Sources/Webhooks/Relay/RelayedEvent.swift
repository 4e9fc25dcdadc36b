import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup

/// An event of topic `events` for one webhook, on its way from its partition.
struct FreshEvent: Sendable {
    let delivery: WebhookDelivery
    let account: AccountSID
    let service: ServiceSID

    /// The events of one subject for one webhook are delivered one after the other.
    var lane: String { "\(delivery.webhook.rawValue)/\(delivery.subject)" }
}

/// What a record of `events` says, checked.
struct RelayedEvent: Sendable {
    let event: CloudEvent
    let account: AccountSID
    let service: ServiceSID
    /// Without the prefix `beckon.`.
    let type: String

    /// - Throws: for a record that is forged or cannot be read, ``RecordFault``. Nil: an event that no webhook can
    ///   want, for it belongs to no service.
    init?(_ record: ConsumedRecord, intake: RecordIntake) throws(RecordFault) {
        try intake.admit(record)
        do {
            event = try CloudEvent(json: record.value)
        } catch {
            throw .unreadable(RecordFormatError(reason: "json", "the value is no CloudEvent in JSON"))
        }
        guard event.type.hasPrefix("beckon."), record.key.elementsEqual(event.subject.utf8),
            // The store takes no U+0000 and would be asked for ever.
            ![event.id, event.type, event.subject].contains(where: { $0.utf8.contains(0) })
        else {
            throw .unreadable(RecordFormatError(reason: "field", "type or key does not belong to an event of ours"))
        }
        type = String(event.type.dropFirst("beckon.".count))
        guard let account = event.data["account_sid"]?.stringValue.flatMap({ AccountSID($0) }),
            let service = event.data["service_sid"]?.stringValue.flatMap({ ServiceSID($0) })
        else { return nil }
        self.account = account
        self.service = service
    }

    /// Whether the event goes to a webhook. An event about a webhook does not go to it, but for a test, which goes
    /// nowhere else.
    func isWanted(by route: WebhookRoute) -> Bool {
        guard route.webhook.isEnabled else { return false }
        let about = type.hasPrefix("webhook.") ? event.data["webhook_sid"]?.stringValue : nil
        if type == EventType.webhookTest.rawValue { return about == route.webhook.sid.rawValue }
        return about != route.webhook.sid.rawValue && route.wants(type)
    }
}
