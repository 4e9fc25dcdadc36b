import ChallengeModel
import ServiceSupport

/// What Beckon needs of its topics: docs/architecture.md, "Topics", and compose/compose.yaml.
enum TopicRules {
    /// Milliseconds that records must be kept at least; nil: the topic is compacted.
    static func retentionMs(_ topic: Topic) -> Int64? { TopicPlan[topic].retentionMs }

    /// A dead letter holds up to 512 KB of the record, and 64 KB of headers.
    static let deadLetterBytes = Int64(TopicPlan[.deadLetters].recordBytes)

    /// The topics that a role reads.
    static func read(by role: Role) -> [Topic] {
        switch role {
        case .producer: [.requests, .receiptRequests, .outcomes, .receipts]
        case .dispatcher: [.challenges, .outcomes, .receipts, .resolutions, .configuration]
        case .ackTracker: Topic.copartitioned
        case .webhooks: [.events]
        case .console: [.deadLetters]
        case .broker, .simulator, .phone: []
        }
    }

    /// The topics that a role writes.
    static func written(by role: Role) -> [Topic] {
        switch role {
        case .producer: [.challenges, .receipts, .resolutions, .events, .configuration, .deadLetters]
        case .dispatcher: [.outcomes, .deadLetters]
        case .ackTracker: [.challenges, .outcomes, .events, .deadLetters]
        case .webhooks: [.deadLetters]
        case .broker, .simulator, .phone, .console: []
        }
    }

    static func needed(by roles: [Role]) -> Set<Topic> { Set(roles.flatMap { read(by: $0) + written(by: $0) }) }
}
