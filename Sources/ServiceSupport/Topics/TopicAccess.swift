public import ChallengeModel

/// A user of the topics, with the least rights that it needs.
public enum TopicUser: String, Sendable, CaseIterable {
    case producer
    case dispatcher
    case ackTracker = "ack-tracker"
    case webhooks
    /// A backend that writes requests and reads events.
    case backend
    /// A person or console that lists and replays dead letters, and uses `beckon topics`.
    case `operator`

    /// Topics that the user reads.
    public var reads: [Topic] {
        switch self {
        case .producer: [.requests, .receiptRequests, .outcomes, .receipts]
        case .dispatcher: Topic.copartitioned + [.configuration]
        case .ackTracker: Topic.copartitioned
        case .webhooks, .backend: [.events]
        case .operator: [.deadLetters]
        }
    }

    /// Topics that the user writes. The dispatcher moves misplaced records of `challenges`; the tracker those of the
    /// other three topics. A replay of dead letters writes to every topic that it may put a record back to.
    public var writes: [Topic] {
        switch self {
        case .producer: [.challenges, .receipts, .resolutions, .events, .configuration, .deadLetters]
        case .dispatcher: [.challenges, .outcomes, .deadLetters]
        case .ackTracker: Topic.copartitioned + [.events, .deadLetters]
        case .webhooks: [.deadLetters]
        case .backend: [.requests, .receiptRequests]
        case .operator: [.requests, .receiptRequests] + Topic.copartitioned + [.events]
        }
    }

    /// Names of the user's consumer groups, behind the prefix; the last one may be a beginning of names.
    public var groups: (names: [String], isPrefixed: Bool) {
        switch self {
        case .producer: (["producer-"], true)
        case .dispatcher, .ackTracker, .webhooks: ([rawValue], false)
        case .backend, .operator: ([], false)
        }
    }

    /// `kafka-acls` commands that grant the rights. Reading and writing include the right to describe the topic.
    /// - Parameters:
    ///   - principal: as Kafka names it, `User:beckon-producer`.
    ///   - server: `host:port` of a broker.
    ///   - beforeKafka28: adds the right to idempotent writes, which brokers before 2.8 demand on the cluster.
    public func commands(
        principal: String, names: TopicNames, server: String, beforeKafka28: Bool = false
    ) -> [String] {
        let start = "kafka-acls --bootstrap-server \(server) --add --allow-principal \(principal)"
        func topics(_ operation: String, _ topics: [Topic]) -> String {
            start + " --operation \(operation)" + topics.map { " --topic \(names[$0])" }.joined()
        }
        var commands = [topics("Read", reads), topics("Write", writes)].filter { $0.contains(" --topic ") }
        for group in groups.names {
            commands.append(
                start + " --operation Read --group \(names.prefix)\(group)"
                    + (groups.isPrefixed ? " --resource-pattern-type prefixed" : ""))
        }
        if self == .operator {
            // Of `configuration` it has no other right, and a right to create does not show a topic.
            for operation in ["Create", "Describe", "DescribeConfigs"] {
                commands.append(topics(operation, Topic.allCases))
            }
        }
        if beforeKafka28, !writes.isEmpty { commands.append(start + " --operation IdempotentWrite --cluster") }
        return commands
    }
}
