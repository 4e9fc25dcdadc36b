import ChallengeModel
import Challenges
import GuardedHTTP

/// The rules of webhook subscriptions.
enum WebhookRules {
    /// `*`, and every event but the test, which no webhook has to ask for.
    static let eventTypes = ["*"] + EventType.allCases.filter { $0 != .webhookTest }.map(\.rawValue)

    /// `EventTypes`, repeated; each once, in the order sent.
    static func eventTypes(_ names: [String]) throws(RuleViolation) -> [String] {
        guard !names.isEmpty else { throw RuleViolation("EventTypes", "at least one, like challenge.approved or *") }
        guard names.allSatisfy({ eventTypes.contains($0) }) else {
            throw RuleViolation("EventTypes", "each one of " + eventTypes.joined(separator: ", "))
        }
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }
    }

    /// `WebhookUrl`, in the form that is stored: see ``CustomerURL``. The relay judges it again before each request.
    static func url(_ text: String, rules: OutboundRules) throws(RuleViolation) -> String {
        do {
            return try CustomerURL(text, rules: rules).storedText
        } catch {
            throw RuleViolation("WebhookUrl", error.description)
        }
    }
}
