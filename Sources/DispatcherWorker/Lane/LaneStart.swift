import KafkaClient

/// From where a lane begins.
struct LaneStart: Hashable, Sendable {
    var challenges: Int64
    var outcomes: Int64
    /// Empty: from the beginning.
    var spans: [FactPositions.Span]

    /// - Parameter committed: nil when the group never committed this partition.
    init(committed: CommittedOffset?, nowMs: Int64) {
        challenges = committed?.offset ?? 0
        if let metadata = committed.flatMap({ CommitMetadata($0.metadata) }) {
            outcomes = metadata.outcomes
            spans = metadata.spans
        } else {
            outcomes = 0
            // A commit that says nothing may have challenges before it that live for as long as one can.
            spans =
                committed == nil
                ? []
                : [FactPositions.Span(start: 0, receipts: 0, resolutions: 0, expiresAtMs: nowMs + LaneFacts.keepMs)]
        }
    }
}
