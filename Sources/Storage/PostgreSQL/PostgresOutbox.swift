import ChallengeModel
import Challenges
import Dispatch
import Foundation
import Synchronization
import Wire

/// The outbox of many Producers. Rows are in lanes by their key, and lanes are leased by the server's clock: a relay
/// reads those that are its own. What it holds it knows in memory, so that no row is written but to insert it, nor
/// claimed by a commit.
final class PostgresOutbox: OutboxStore {
    private struct Counted {
        var count: OutboxCount
        /// Until then it is not counted again.
        var until: ContinuousClock.Instant
    }

    private struct State {
        var owners: [String: OutboxOwner] = [:]
        var counted: Counted?
        var isLooking = false
        var isClosed = false
        /// How far our clock is ahead of the server's, at least.
        var clockAheadMs: Int64 = 0
    }

    /// Rows that one claim looks at, at most.
    private static let lookBound = 50_000
    /// A lease that ends later than a whole lease and this was given by a clock that is not the server's any more: of a
    /// primary whose clock was ahead of its standby's.
    private static let clockStepMs: Int64 = 60_000
    /// A count is used for at most so long.
    private static let longestCount: Duration = .seconds(5)
    /// How often the rows of other Producers are looked for.
    private static let lookInterval = DispatchTimeInterval.milliseconds(25)
    private static let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

    let calls: PostgresCalls
    private let signal: OutboxSignal
    private let state = Mutex(State())

    init(_ calls: PostgresCalls, signal: OutboxSignal) {
        self.calls = calls
        self.signal = signal
    }

    var sharing: OutboxSharing? { OutboxSharing(lease: .seconds(10), messageTimeout: .seconds(5)) }
    var outboxSignal: AsyncStream<Void> { signal.stream() }

    // MARK: - Rows

    func claimOutbox(
        _ scan: OutboxScan, owner: String, leaseMs: Int64, nowMs: Int64
    ) async throws -> (rows: [OutboxRow], scan: OutboxScan) {
        precondition(!owner.isEmpty, "a lease needs an owner")
        try await keepOutbox(owner: owner, leaseMs: leaseMs)
        var limit = scan.limit
        while true {
            let (lowest, surplus, held) = state.withLock { state in
                let mine = state.owners[owner] ?? OutboxOwner()
                let lowest = min(scan.ids.lowerBound, mine.lowest)
                return (lowest, mine.surplus, mine.held.keys.filter { $0 >= lowest })
            }
            let upper = scan.ids.upperBound
            let found = try await calls.run(.read, .relay) { [limit, observer = calls.observer] connection in
                let found = try Found(
                    connection.rows(
                        Self.select,
                        [
                            .integer(lowest), .integer(upper), .integers(held), .integer(Int64(limit)),
                            .text(owner), .integers(surplus.map(Int64.init)), .integer(Int64(limit)),
                        ]))
                // A server that dies shows rows for a moment whose COMMIT no standby has. A promoted standby does not
                // know them, and the caller makes its challenge again: their dispatch may not be on the log.
                if found.needsStandby {
                    guard observer.fault != .standbyAway else { throw StoreError.unavailable(.standbyAway) }
                    try connection.awaitStandby()
                }
                return found
            }
            var taking = scan
            let rows = state.withLock { state -> [OutboxRow] in
                guard var mine = state.owners[owner] else { return [] }
                defer { state.owners[owner] = mine }
                var taken: [OutboxRow] = []
                for (row, lane, epoch) in found.rows where !taking.isFull {
                    guard mine.mayHandOut(row.id, lane: lane, epoch: epoch),
                        taking.takes(row.id, row.topic, key: row.key, isFree: true)
                    else { continue }
                    taken.append(row)
                }
                // Those that it looked at, and whose room was used up by others, are read again among more.
                let isDone = taking.isFull || found.rows.count < limit || limit >= Self.lookBound
                guard isDone else { return [] }
                // What waits behind a fault is read by ranges that end before what is new.
                if let lowerBound = found.lowerBound, upper == .max {
                    mine.read(lowerBound: lowerBound, highest: found.rows.last?.row.id)
                }
                for row in taken { mine.handOut(row.id, lane: OutboxLanes.lane(of: row.key)) }
                taking.leaseEndsMs = mine.leaseEndsMs(nowMs: nowMs, now: .now)
                return taken
            }
            if taking.leaseEndsMs != nil { return (rows, taking) }
            limit = min(limit * 8, Self.lookBound)
        }
    }

    private static let select = """
        SELECT o.id, o.topic, o.key, o.value, o.content_type, o.expires_ms, o.traceparent, l.lane, l.epoch, \
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
        (current_setting('synchronous_standby_names') <> '')::int \
        FROM outbox_lanes l CROSS JOIN LATERAL ( \
        SELECT id, topic, key, value, content_type, expires_ms, traceparent FROM outbox \
        WHERE lane = l.lane AND id BETWEEN ? AND ? AND id <> ALL (?) ORDER BY id LIMIT ?) o \
        WHERE l.owner = ? AND l.until_ms > \(now) AND l.lane <> ALL (?) ORDER BY o.id LIMIT ?
        """

    private struct Found {
        var rows: [(row: OutboxRow, lane: Int, epoch: Int64)] = []
        /// Transactions below had ended.
        var lowerBound: Int64?
        var needsStandby = false

        init(_ rows: [PostgresRow]) throws {
            for row in rows {
                var columns = Columns(row)
                let id = columns.int64()
                guard let topic = Topic(rawValue: columns.text()) else {
                    throw StoreError.failed("outbox row \(id) names an unknown topic")
                }
                let (key, value) = (columns.text(), columns.bytes())
                guard let contentType = ContentType(rawValue: columns.text()) else {
                    throw StoreError.failed("outbox row \(id) names an unknown content type")
                }
                let found = OutboxRow(
                    id: id, topic: topic, key: key, value: value, contentType: contentType,
                    expiresAtMs: columns.optionalInt64(), traceparent: columns.optionalText())
                self.rows.append((found, columns.integer(), columns.int64()))
                lowerBound = columns.int64()
                needsStandby = columns.integer() != 0
            }
        }
    }

    func deleteOutbox(_ ids: [Int64], owner: String) async throws {
        guard !ids.isEmpty else { return }
        let read = state.withLock { $0.owners[owner]?.willWrite() }
        let number = try await calls.run(.write, .relay) { connection in
            _ = try connection.changes("DELETE FROM outbox WHERE id = ANY (?)", [.integers(ids)])
            return connection.transactionNumber
        }
        state.withLock { state in
            state.owners[owner]?.settled(ids)
            if let read, let number { state.owners[owner]?.wrote(number, after: read) }
        }
    }

    func releaseOutbox(_ ids: [Int64], owner: String) async throws {
        state.withLock { $0.owners[owner]?.settled(ids) }
    }

    // MARK: - Lanes

    func keepOutbox(owner: String, leaseMs: Int64) async throws {
        let begun = state.withLock { state -> (free: [Int], read: Int)? in
            var mine = state.owners[owner, default: OutboxOwner()]
            defer { state.owners[owner] = mine }
            return mine.isDue(leaseMs: leaseMs, now: .now) ? (mine.free, mine.willWrite()) : nil
        }
        guard let begun else { return }
        let sentAt = ContinuousClock.now
        let (lease, number, sentMs) = try await calls.run(.write, .relay) { connection in
            let sentMs = Timestamp.nowMs()
            let lease = try Self.renew(connection, owner: owner, leaseMs: leaseMs, free: begun.free)
            return (lease, connection.transactionNumber, sentMs)
        }
        let looks = state.withLock { state -> Bool in
            // Before it was asked our clock was already later than the server's.
            state.clockAheadMs = max(0, sentMs - lease.serverMs)
            if let number { state.owners[owner]?.wrote(number, after: begun.read) }
            state.owners[owner]?.renewed(
                lease.lanes, relays: lease.relays, leaseMs: leaseMs, sentAt: sentAt)
            guard lease.relays > 1, !state.isLooking, !state.isClosed else { return false }
            state.isLooking = true
            return true
        }
        if looks { look() }
    }

    private struct Lease {
        /// With their epochs.
        let lanes: [Int: Int64]
        let relays: Int
        /// The server's clock, epoch milliseconds.
        let serverMs: Int64
    }

    private static func renew(
        _ connection: PostgresConnection, owner: String, leaseMs: Int64, free: [Int]
    ) throws -> Lease {
        let (me, lease) = (PostgresValue.text(owner), PostgresValue.integer(leaseMs))
        try connection.run(
            """
            INSERT INTO outbox_owners (owner, until_ms) VALUES (?, \(now) + ?) \
            ON CONFLICT (owner) DO UPDATE SET until_ms = excluded.until_ms
            """, [me, lease])
        if !free.isEmpty {
            try connection.run(
                "UPDATE outbox_lanes SET owner = '', until_ms = 0 WHERE owner = ? AND lane = ANY (?)",
                [me, .integers(free.map(Int64.init))])
        }
        // Also those whose lease has ended and which nobody has taken: nobody has read them.
        var mine = try connection.returning(
            "UPDATE outbox_lanes SET until_ms = \(now) + ? WHERE owner = ? RETURNING lane, epoch", [lease, me])
        let counted = try connection.rows(
            "SELECT count(*), \(now) FROM outbox_owners WHERE until_ms > \(now) AND until_ms <= \(now) + ?",
            [.integer(leaseMs + clockStepMs)])[0]
        let relays = Int(counted.int64(0))
        let share = (OutboxLanes.count + max(relays, 1) - 1) / max(relays, 1)
        if mine.count < share {
            mine += try connection.returning(
                """
                UPDATE outbox_lanes SET owner = ?, until_ms = \(now) + ?, epoch = epoch + 1 WHERE lane IN ( \
                SELECT lane FROM outbox_lanes WHERE until_ms <= \(now) OR until_ms > \(now) + ? \
                ORDER BY lane LIMIT ? FOR UPDATE SKIP LOCKED) RETURNING lane, epoch
                """, [me, lease, .integer(leaseMs + clockStepMs), .integer(Int64(share - mine.count))])
        }
        try connection.run("DELETE FROM outbox_owners WHERE until_ms < \(now) - 600000", [PostgresValue]())
        return Lease(
            lanes: Dictionary(mine.map { (Int($0.int64(0)), $0.int64(1)) }) { $1 }, relays: relays,
            serverMs: counted.int64(1))
    }

    func leaveOutbox(owner: String) async throws {
        state.withLock { $0.owners[owner] = nil }
        try await calls.run(.write, .relay) { connection in
            try connection.run("UPDATE outbox_lanes SET owner = '', until_ms = 0 WHERE owner = ?", [.text(owner)])
            try connection.run("DELETE FROM outbox_owners WHERE owner = ?", [.text(owner)])
        }
    }

    /// Hands over what nothing is held of. The rest becomes free when its lease ends.
    func close() async {
        let idle = state.withLock { state in
            state.isClosed = true
            return state.owners.filter { $0.value.held.isEmpty }.map(\.key)
        }
        for owner in idle { try? await leaveOutbox(owner: owner) }
        signal.finish()
    }

    /// Rings while there are other Producers: their commits ring only there.
    private func look() {
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.lookInterval) { [self] in
            let goesOn = state.withLock { state in
                state.isLooking = !state.isClosed && state.owners.values.contains { $0.relays > 1 }
                return state.isLooking
            }
            guard goesOn else { return }
            calls.observer.ring()
            look()
        }
    }

    // MARK: - State

    var clockAheadMs: Int64 { state.withLock { $0.clockAheadMs } }

    func countOutbox() async throws -> OutboxCount {
        let (known, owner) = state.withLock { state in
            (state.counted, state.owners.count == 1 ? state.owners.keys.first : nil)
        }
        if let known, known.until > .now { return known.count }
        let (counted, took) = try await calls.run(.read, .relay) { connection in
            // Not before: the wait for a connection is no work of the server's.
            let startedAt = ContinuousClock.now
            let row = try connection.rows(
                """
                SELECT (SELECT count(*) FROM outbox), (SELECT o.created_ms FROM outbox o \
                JOIN outbox_lanes l ON l.lane = o.lane WHERE o.topic = 'challenges' AND l.owner = coalesce(?, l.owner) \
                ORDER BY o.id LIMIT 1)
                """, [owner.map { .text($0) } ?? .null])[0]
            let counted = OutboxCount(
                rows: Int(row.int64(0)), oldestDispatchMs: row.optionalInt64(1), countedAt: startedAt)
            return (counted, ContinuousClock.now - startedAt)
        }
        // Counting takes a twentieth of the time, or more when it takes more than a quarter of a second: the readiness
        // of the role and the limit of the outbox depend on it.
        let pause = min(max(.milliseconds(250), took * 20), Self.longestCount)
        state.withLock { $0.counted = Counted(count: counted, until: .now + pause) }
        return counted
    }
}
