import KafkaClient

/// What may be committed, and what need not be remembered any more.
extension LaneState {
    /// What may be committed now.
    mutating func commit() -> CommittedOffset {
        let outcomes = floors.floor(committed: ledger.committable, next: ledger.next)
        let metadata = CommitMetadata(outcomes: outcomes, spans: positions.merged(to: CommitMetadata.maxSpans))
        return CommittedOffset(offset: ledger.committable, metadata: metadata.text)
    }

    /// Forgets what is past. Once a second is enough.
    mutating func tidy(nowMs: Int64) {
        facts.expire(nowMs: nowMs)
        positions.prune(committed: ledger.committable, nowMs: nowMs)
    }

    mutating func limit(doneBytes: Int, factBytes: Int) { facts.limit(doneBytes: doneBytes, factBytes: factBytes) }

    /// Pushes forgotten before their time since the last call.
    mutating func takeEvicted() -> Int { facts.takeEvicted() }
}
