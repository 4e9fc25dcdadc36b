import KafkaClient

/// The offset to commit, and the removal of old facts.
extension LaneState {
    /// The offset that may be committed now.
    mutating func commit() -> CommittedOffset {
        let outcomes = floors.floor(committed: ledger.committable, next: ledger.next)
        let metadata = CommitMetadata(outcomes: outcomes, spans: positions.merged(to: CommitMetadata.maxSpans))
        return CommittedOffset(offset: ledger.committable, metadata: metadata.text)
    }

    /// Removes old facts. Call it about once a second.
    mutating func tidy(nowMs: Int64) {
        facts.expire(nowMs: nowMs)
        positions.prune(committed: ledger.committable, nowMs: nowMs)
    }

    mutating func limit(doneBytes: Int, factBytes: Int) { facts.limit(doneBytes: doneBytes, factBytes: factBytes) }

    /// Number of pushes that were forgotten too early since the last call.
    mutating func takeEvicted() -> Int { facts.takeEvicted() }
}
