import ChallengeModel
import Challenges
import Wire

/// How the lanes of the outbox share the relay's window, as a machine without I/O: what a claim may take of each, and
/// from where on.
///
/// A lane that is not acknowledged fills its share and no more; one that fails rests for a while. The claims leave what
/// waits for either, and remember from where on: rows of a key are claimed in their order.
struct RelayLanes {
    /// A part of the outbox that claims read in turn, so that neither waits for the other.
    enum Part: CaseIterable {
        /// What no claim has seen.
        case front
        /// What was left behind.
        case backlog
    }

    struct Plan {
        let scan: OutboxScan
        /// The lanes of a backlog that it takes from; nil: it is of the front.
        let backlog: Set<OutboxLane>?
    }

    private struct Lane {
        /// Rows in the window.
        var held = 0
        /// In a row.
        var failures = 0
        var failedAtMs: Int64?
        /// No free row of the lane is below; nil: nor is one below `front`.
        var next: Int64?

        /// 100 ms, doubled up to 5 s. A clock that was set back ends it.
        func rests(nowMs: Int64) -> Bool {
            guard let failedAtMs else { return false }
            let backoff = Backoff(first: .milliseconds(100), most: .seconds(5), failures: failures)
            return (0..<backoff.whole.wholeMilliseconds).contains(nowMs - failedAtMs)
        }
    }

    let lane: @Sendable (Topic, String) -> OutboxLane
    private var lanes: [OutboxLane: Lane] = [:]
    /// No free row is below, but of lanes that have a `next`.
    private var front: Int64 = 1

    init(lane: @escaping @Sendable (Topic, String) -> OutboxLane) { self.lane = lane }

    /// What one lane may hold. A part of what is free, not of the whole: a hundred lanes that stand still leave room
    /// for one more.
    static func share(ofRoom room: Int) -> Int { max(1, room / 16) }

    /// Those whose last record failed.
    var failing: Int { lanes.values.count { $0.failures > 0 } }

    /// - Parameters:
    ///   - limit: rows to claim at most.
    ///   - share: rows that a lane may have in the window.
    /// - Returns: nil when nothing can be had of that part.
    func plan(_ part: Part, limit: Int, share: Int, nowMs: Int64) -> Plan? {
        var room: [OutboxLane: Int] = [:]
        var from = Int64.max
        for (name, lane) in lanes {
            let isBehind = lane.next.map { $0 < front } ?? false
            // A claim is a commit: not for each row that an acknowledgement has made room for.
            let least = part == .backlog ? max(1, share / 4) : 1
            let isOpen = share - lane.held >= least && !lane.rests(nowMs: nowMs)
            let takes = isOpen && isBehind == (part == .backlog)
            if takes, let next = lane.next { from = min(from, next) }
            if takes || part == .front { room[name] = takes ? share - lane.held : 0 }
        }
        switch part {
        case .front:
            return Plan(
                scan: OutboxScan(ids: front...Int64.max, limit: limit, room: room, roomElse: share, lane: lane),
                backlog: nil)
        case .backlog:
            guard !room.isEmpty else { return nil }
            return Plan(
                scan: OutboxScan(
                    ids: from...(front - 1), limit: min(limit, room.values.reduce(0, +)), room: room, roomElse: 0,
                    lane: lane), backlog: Set(room.keys))
        }
    }

    /// - Parameter scan: of the plan, as it ended.
    mutating func carriedOut(_ plan: Plan, _ scan: OutboxScan) {
        let rest = scan.isFull ? scan.last.map { $0 + 1 } : nil
        if let backlog = plan.backlog {
            for lane in backlog { lanes[lane]?.next = rest }
        } else {
            front = rest ?? max(front, (scan.last ?? 0) + 1)
        }
        for (lane, id) in scan.left { isFree(id, of: lane) }
    }

    /// A row can be claimed again.
    mutating func isFree(_ id: Int64, of lane: OutboxLane) {
        lanes[lane, default: Lane()].next = min(lanes[lane]?.next ?? .max, id)
    }

    mutating func holds(_ rows: Int, moreOf lane: OutboxLane) { lanes[lane, default: Lane()].held += rows }

    mutating func isAcknowledged(_ lane: OutboxLane) { lanes[lane]?.failures = 0 }

    mutating func hasFailed(_ lane: OutboxLane, nowMs: Int64) {
        // What was under way beside the first that failed counts with it.
        guard lanes[lane]?.rests(nowMs: nowMs) == false else { return }
        lanes[lane]?.failures += 1
        lanes[lane]?.failedAtMs = nowMs
    }

    /// From the first row on: for what another Producer has given back.
    mutating func startOver() {
        front = 1
        for name in lanes.keys { lanes[name]?.next = nil }
    }
}
