import ChallengeModel
import ChallengeStore

/// The rows that a relay holds under lease, as a machine without I/O: what to send now, what to delete, what to give back.
///
/// Rows of one topic and key go one after the other, so that a failure cannot turn them round; different keys go together.
/// A row whose time is over is deleted unsent; one whose lease would not outlast the wait for its acknowledgement is given
/// back, because somebody else may take it before we know.
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
        let topic: String
        let key: String
    }

    private struct Held {
        let row: OutboxRow
        let leaseEndsMs: Int64
    }

    /// Under each key the row in flight comes first; the others wait.
    private var chains: [ChainKey: [Held]] = [:]
    /// The key of each row in flight.
    private var flying: [Int64: ChainKey] = [:]
    /// A row is sent only while its lease lasts at least this much longer.
    private let sendReserveMs: Int64
    /// In flight and waiting.
    private(set) var held = 0
    private var isStopping = false

    /// - Parameter sendReserveMs: the producer's message timeout and a margin.
    init(sendReserveMs: Int64) {
        self.sendReserveMs = sendReserveMs
    }

    var inFlight: Int { flying.count }

    func holds(_ row: OutboxRow) -> Bool {
        chains[ChainKey(topic: row.topic.rawValue, key: row.key)]?.contains { $0.row.id == row.id } ?? false
    }

    /// Rows just claimed, oldest first.
    mutating func admit(_ rows: [OutboxRow], leaseEndsMs: Int64, nowMs: Int64) -> Step {
        var step = Step()
        for row in rows {
            let key = ChainKey(topic: row.topic.rawValue, key: row.key)
            let isFree = chains[key] == nil
            chains[key, default: []].append(Held(row: row, leaseEndsMs: leaseEndsMs))
            held += 1
            if isFree { advance(key, nowMs: nowMs, &step) }
        }
        return step
    }

    /// What became of a row in flight. One that is not in flight is ignored.
    mutating func finish(_ id: Int64, _ fate: RelayFate, nowMs: Int64) -> Step {
        var step = Step()
        guard let key = flying.removeValue(forKey: id), let row = chains[key]?.first?.row else { return step }
        switch fate {
        case .acknowledged, .abandoned:
            step.delete.append(id)
            removeFirst(of: key)
            advance(key, nowMs: nowMs, &step)
        case .refused:
            flying[id] = key
            step.deadLetter.append(row)
        case .failed:
            giveBack(key, &step)
        }
        return step
    }

    /// Gives back what is not in flight; from now on nothing is sent.
    mutating func stop() -> Step {
        isStopping = true
        var step = Step()
        for (key, chain) in chains where chain.count > 1 {
            step.release += chain.dropFirst().map(\.row.id)
            held -= chain.count - 1
            chains[key] = Array(chain.prefix(1))
        }
        return step
    }

    private mutating func advance(_ key: ChainKey, nowMs: Int64, _ step: inout Step) {
        while let next = chains[key]?.first {
            if let expiresAtMs = next.row.expiresAtMs, expiresAtMs <= nowMs {
                step.delete.append(next.row.id)
                step.expired += 1
                removeFirst(of: key)
            } else if isStopping || next.leaseEndsMs - nowMs < sendReserveMs {
                giveBack(key, &step)
            } else {
                flying[next.row.id] = key
                step.send.append(next.row)
                return
            }
        }
    }

    private mutating func removeFirst(of key: ChainKey) {
        held -= 1
        if chains[key]?.count == 1 { chains[key] = nil } else { chains[key]?.removeFirst() }
    }

    private mutating func giveBack(_ key: ChainKey, _ step: inout Step) {
        let rows = chains.removeValue(forKey: key) ?? []
        held -= rows.count
        step.release += rows.map(\.row.id)
    }
}
