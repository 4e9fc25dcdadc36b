import ChallengeModel
import Challenges
import Foundation

/// The rules of webhook subscriptions.
enum WebhookRules {
    /// `*`, the original's five, and every other event of ours.
    static let eventTypes = ["*"] + EventType.allCases.map(\.rawValue)

    /// `EventTypes`, repeated; each once, in the order sent.
    static func eventTypes(_ names: [String]) throws(RuleViolation) -> [String] {
        guard !names.isEmpty else { throw RuleViolation("EventTypes", "at least one, like challenge.approved or *") }
        guard names.allSatisfy({ eventTypes.contains($0) }) else {
            throw RuleViolation("EventTypes", "each one of " + eventTypes.joined(separator: ", "))
        }
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }
    }

    /// `WebhookUrl`: absolute, http or https, without user and password: those would stand in logs of whoever it is sent to.
    static func url(_ text: String) throws(RuleViolation) -> String {
        let parameter = "WebhookUrl"
        guard text.utf8.count <= 2048, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
            let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
            scheme == "http" || scheme == "https", let host = parts.host, !host.isEmpty
        else {
            throw RuleViolation(parameter, "an absolute http or https URL of at most 2048 characters")
        }
        guard parts.user == nil, parts.password == nil else {
            throw RuleViolation(parameter, "a URL without user and password: check the signature instead")
        }
        return text
    }
}
