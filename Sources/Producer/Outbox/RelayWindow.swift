import ChallengeModel
import Challenges

/// The rows that a relay holds under lease, as a machine without I/O: what to send now, what to delete, what to give
/// back.
///
/// Rows of one topic and key go one after the other, so that a failure cannot turn them round; different keys go
/// together. A row whose time is over is deleted unsent; one whose lease would not outlast the wait for its
/// acknowledgement is given back, because somebody else may take it before we know.
struct RelayWindow {
    /// What follows from an event.
    struct Step: Equatable {
        var send: [OutboxRow] = []
        var deadLetter: [OutboxRow] = []
        var delete: [Int64] = []
        var release: [Int64] = []
        /// Of `delete`: those that expired.
        var expired = 0
    }

    private struct ChainKey: Hashable {
        let topic: Topic
        let key: String
    }

    private struct Chain {
        let partition: OutboxPartition
        var rows: [Held] = []
    }

    private struct Held {
        let row: OutboxRow
        let leaseEndsMs: Int64
    }

    /// Under each key the row in flight comes first; the others wait.
    private var chains: [ChainKey: Chain] = [:]
    /// The key of each row in flight.
    private var flying: [Int64: ChainKey] = [:]
    /// Done with and not known to be deleted, by a claim under way either. A lease that ends under us (a clock that
    /// jumps, a store that stood still) lets them be claimed once more.
    private var done: Set<Int64> = []
    /// Deleted since the claim under way began; nil: there is none.
    private var deletedMeanwhile: [Int64]?
    /// A row is sent only while its lease lasts at least this much longer.
    private let sendReserveMs: Int64
    /// In flight and waiting.
    private(set) var held = 0
    var partitions: RelayPartitions
    /// How far the clock of `nowMs` is ahead of the store's: nothing expires before its time because of that.
    var clockAheadMs: Int64 = 0
    private var isStopping = false

    /// - Parameter sendReserveMs: the producer's message timeout and a margin.
    init(sendReserveMs: Int64, partitions: RelayPartitions) {
        self.sendReserveMs = sendReserveMs
        self.partitions = partitions
    }

    var inFlight: Int { flying.count }

    /// The store is asked for rows: what it answers may be older than a deletion that returns before it.
    mutating func claimBegins() { deletedMeanwhile = [] }

    /// The store has answered, and ``admit(_:leaseEndsMs:nowMs:)`` was called with its rows, if there are any.
    mutating func claimEnds() {
        done.subtract(deletedMeanwhile ?? [])
        deletedMeanwhile = nil
    }

    /// The store has deleted rows of ``Step/delete``.
    mutating func areDeleted(_ ids: [Int64]) {
        if deletedMeanwhile == nil { done.subtract(ids) } else { deletedMeanwhile?.append(contentsOf: ids) }
    }

    /// Rows just claimed, oldest first. Those that are done or held are known already.
    mutating func admit(_ rows: [OutboxRow], leaseEndsMs: Int64, nowMs: Int64) -> Step {
        var step = Step()
        for row in rows where !done.contains(row.id) {
            let key = ChainKey(topic: row.topic, key: row.key)
            if chains[key]?.rows.contains(where: { $0.row.id == row.id }) == true { continue }
            let isFree = chains[key] == nil
            let partition = chains[key]?.partition ?? partitions.partition(row.topic, row.key)
            chains[key, default: Chain(partition: partition)].rows.append(Held(row: row, leaseEndsMs: leaseEndsMs))
            count(1, of: partition)
            if isFree { advance(key, nowMs: nowMs, &step) }
        }
        return step
    }

    /// What became of a row in flight. One that is not in flight is ignored.
    mutating func finish(_ id: Int64, _ fate: RelayFate, nowMs: Int64) -> Step {
        var step = Step()
        guard let key = flying.removeValue(forKey: id), let chain = chains[key], let row = chain.rows.first?.row else {
            return step
        }
        switch fate {
        case .acknowledged, .abandoned:
            if fate == .acknowledged { partitions.isAcknowledged(chain.partition) }
            delete(id, &step)
            removeFirst(of: key)
            advance(key, nowMs: nowMs, &step)
        case .refused:
            flying[id] = key
            step.deadLetter.append(row)
        case .failed:
            partitions.hasFailed(chain.partition, nowMs: nowMs)
            giveBack(key, after: 0, &step)
        }
        return step
    }

    /// Gives back what is not in flight; from now on nothing is sent.
    mutating func stop() -> Step {
        isStopping = true
        var step = Step()
        for key in chains.keys { giveBack(key, after: 1, &step) }
        return step
    }

    private mutating func advance(_ key: ChainKey, nowMs: Int64, _ step: inout Step) {
        while let next = chains[key]?.rows.first {
            if let expiresAtMs = next.row.expiresAtMs, expiresAtMs <= nowMs - clockAheadMs {
                delete(next.row.id, &step)
                step.expired += 1
                removeFirst(of: key)
            } else if isStopping || next.leaseEndsMs - nowMs < sendReserveMs {
                giveBack(key, after: 0, &step)
            } else {
                flying[next.row.id] = key
                step.send.append(next.row)
                return
            }
        }
    }

    private mutating func delete(_ id: Int64, _ step: inout Step) {
        step.delete.append(id)
        done.insert(id)
    }

    private mutating func removeFirst(of key: ChainKey) {
        guard let chain = chains[key] else { return }
        count(-1, of: chain.partition)
        if chain.rows.count == 1 { chains[key] = nil } else { chains[key]?.rows.removeFirst() }
    }

    /// All rows of a key but the first so many.
    private mutating func giveBack(_ key: ChainKey, after kept: Int, _ step: inout Step) {
        guard let chain = chains[key] else { return }
        let ids = chain.rows.dropFirst(kept).map(\.row.id)
        if kept == 0 { chains[key] = nil } else { chains[key]?.rows.removeLast(ids.count) }
        count(-ids.count, of: chain.partition)
        if let first = ids.first { partitions.isFree(first, of: chain.partition) }
        step.release += ids
    }

    private mutating func count(_ rows: Int, of partition: OutboxPartition) {
        held += rows
        partitions.holds(rows, moreOf: partition)
    }
}
