import KafkaClient

/// The positions at which a lane begins.
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
            // Before a commit without metadata there may be challenges with the longest possible life.
            spans =
                committed == nil
                ? []
                : [FactPositions.Span(start: 0, receipts: 0, resolutions: 0, expiresAtMs: nowMs + LaneFacts.keepMs)]
        }
    }
}
