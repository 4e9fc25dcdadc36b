import Simulators

/// What happens on a phone, in words for people.
enum PhoneWords {
    static func event(_ event: PhoneEvent) -> String {
        switch event.kind {
        case .online: "The phone is online"
        case .offline: "The phone is offline"
        case .pushed: event.detail.hasPrefix("background") ? "A background push arrived" : "A push arrived"
        case .lost: "The push was lost: \(event.detail)"
        case .ignored: "The app did nothing: \(event.detail)"
        case .displayed: "The phone rang"
        case .withdrawn: "The notification went away"
        case .kept: "The notification extension kept the challenge"
        case .confirmed: "The app confirmed the receipt (\(event.detail))"
        case .opened: event.challengeSID == nil ? "The app was opened" : "The app showed the details"
        case .polled: "The app asked for open challenges and got \(event.detail)"
        case .fetched: "The app fetched the challenge"
        case .answered: "Answered: \(event.detail)"
        case .refused: "The server refused: \(event.detail)"
        case .failed: "It failed: \(event.detail)"
        case .reported: "The app told the server: \(event.detail)"
        case .deleted: "The app was deleted"
        case .enrolled: "The app was enrolled again"
        }
    }

    static func state(_ behaviour: PhoneBehaviour, isAttended: Bool) -> (Tone, String) {
        switch behaviour {
        case .notificationsOff: (.warning, "notifications off")
        case .closed: (.quiet, "app closed")
        case .offline: (.warning, "offline")
        case .deleted: (.bad, "app deleted")
        default: isAttended ? (.good, "on") : (.quiet, "by itself")
        }
    }
}
