import ChallengeModel
import Challenges
import Wire

/// How the partitions of Kafka's topics share the relay's window, as a machine without I/O: how many rows a claim may
/// take for each, and from which row on.
///
/// A partition whose rows are not acknowledged fills its share and no more. One that fails rests for a while. The
/// claims leave what waits for either, and remember from where on: rows of a key are claimed in their order.
struct RelayPartitions {
    /// A part of the outbox that claims read in turn, so that neither waits for the other.
    enum Part: CaseIterable {
        /// What no claim has seen.
        case front
        /// What was left behind.
        case backlog
    }

    struct Plan {
        let scan: OutboxScan
        /// The partitions of a backlog that it takes from; nil: it is of the front.
        let backlog: Set<OutboxPartition>?
    }

    private struct Standing {
        /// Rows in the window.
        var held = 0
        /// In a row.
        var failures = 0
        var failedAtMs: Int64?
        /// No free row of the partition is below; nil: nor is one below `front`.
        var next: Int64?

        /// 100 ms, doubled up to 5 s. A clock that was set back ends it.
        func rests(nowMs: Int64) -> Bool {
            guard let failedAtMs else { return false }
            let backoff = Backoff(first: .milliseconds(100), most: .seconds(5), failures: failures)
            return (0..<backoff.whole.wholeMilliseconds).contains(nowMs - failedAtMs)
        }
    }

    let partition: @Sendable (Topic, String) -> OutboxPartition
    private var partitions: [OutboxPartition: Standing] = [:]
    /// No free row is below, but of partitions that have a `next`.
    private var front: Int64 = 1

    init(partition: @escaping @Sendable (Topic, String) -> OutboxPartition) { self.partition = partition }

    /// How many rows one partition may hold. A part of what is free, not of the whole: a hundred partitions that stand
    /// still leave room for one more.
    static func share(ofRoom room: Int) -> Int { max(1, room / 16) }

    /// Those whose last record failed.
    var failing: Int { partitions.values.count { $0.failures > 0 } }

    /// - Parameters:
    ///   - limit: rows to claim at most.
    ///   - share: rows that a partition may have in the window.
    /// - Returns: nil when nothing can be had of that part.
    func plan(_ part: Part, limit: Int, share: Int, nowMs: Int64) -> Plan? {
        var room: [OutboxPartition: Int] = [:]
        var from = Int64.max
        for (name, partition) in partitions {
            let isBehind = partition.next.map { $0 < front } ?? false
            // A claim is a commit: not for each row that an acknowledgement has made room for.
            let least = part == .backlog ? max(1, share / 4) : 1
            let isOpen = share - partition.held >= least && !partition.rests(nowMs: nowMs)
            let takes = isOpen && isBehind == (part == .backlog)
            if takes, let next = partition.next { from = min(from, next) }
            if takes || part == .front { room[name] = takes ? share - partition.held : 0 }
        }
        switch part {
        case .front:
            return Plan(
                scan: OutboxScan(
                    ids: front...Int64.max, limit: limit, room: room, roomElse: share, partition: partition),
                backlog: nil)
        case .backlog:
            guard !room.isEmpty else { return nil }
            return Plan(
                scan: OutboxScan(
                    ids: from...(front - 1), limit: min(limit, room.values.reduce(0, +)), room: room, roomElse: 0,
                    partition: partition), backlog: Set(room.keys))
        }
    }

    /// - Parameter scan: of the plan, as it ended.
    mutating func carriedOut(_ plan: Plan, _ scan: OutboxScan) {
        let rest = scan.isFull ? scan.last.map { $0 + 1 } : nil
        if let backlog = plan.backlog {
            for partition in backlog { partitions[partition]?.next = rest }
        } else {
            front = rest ?? max(front, (scan.last ?? 0) + 1)
        }
        for (partition, id) in scan.left { isFree(id, of: partition) }
    }

    /// A row can be claimed again.
    mutating func isFree(_ id: Int64, of partition: OutboxPartition) {
        partitions[partition, default: Standing()].next = min(partitions[partition]?.next ?? .max, id)
    }

    mutating func holds(_ rows: Int, moreOf partition: OutboxPartition) {
        partitions[partition, default: Standing()].held += rows
    }

    mutating func isAcknowledged(_ partition: OutboxPartition) { partitions[partition]?.failures = 0 }

    mutating func hasFailed(_ partition: OutboxPartition, nowMs: Int64) {
        // What was under way beside the first that failed counts with it.
        guard partitions[partition]?.rests(nowMs: nowMs) == false else { return }
        partitions[partition]?.failures += 1
        partitions[partition]?.failedAtMs = nowMs
    }

    /// From the first row on: for what another Producer has given back.
    mutating func startOver() {
        front = 1
        for name in partitions.keys { partitions[name]?.next = nil }
    }
}
