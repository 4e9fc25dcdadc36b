import ChallengeModel
package import Challenges
import Foundation
import GRDB

extension Database {
    /// The highest outbox id given out; ids are never used again.
    func lastOutboxID() throws -> Int64 { try integer("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'") }

    /// Counts the rows that the open transaction added: once for all of them. - Returns: ``lastOutboxID()``.
    func countOutbox() throws -> Int64 {
        let last = try lastOutboxID()
        try run(
            """
            UPDATE outbox_count SET rows = rows + ? - through_id, through_id = ? WHERE id = 1 AND through_id < ?
            """, [last, last, last])
        return last
    }
}

extension SQLiteEngine: OutboxStore {
    package func claimOutbox(
        _ scan: OutboxScan, owner: String, leaseMs: Int64, nowMs: Int64
    ) async throws -> (rows: [OutboxRow], scan: OutboxScan) {
        precondition(!owner.isEmpty, "a lease needs an owner")
        // A read first: an idle relay costs no commit, and the rows are read beside the writer.
        let found = try await readRows { database -> Free? in
            let claims = try database.outboxClaims()
            guard claims.claims.allSatisfy({ $0.untilMs > nowMs }) else { return nil }
            return try Self.free(database, claims, scan, from: scan.ids.lowerBound, owner: owner)
        }
        if let found, found.rows.isEmpty { return ([], found.scan) }
        return try await writeRows { database in
            var claims = try database.outboxClaims()
            // What a dead owner held is free again, and older than what comes behind it.
            let ended = claims.claims.filter { $0.untilMs <= nowMs }
            for claim in ended { try database.delete(claim) }
            claims.claims.removeAll { $0.untilMs <= nowMs }
            // Rows never change. What was free still is, unless somebody has claimed something in between.
            let free: Free
            if let found, claims.byOthers(than: owner) == found.others, !claims.overlap(found.runs),
                try database.areThere(found)
            {
                free = found
            } else {
                let from = min(scan.ids.lowerBound, ended.first?.ids.lowerBound ?? .max)
                free = try Self.free(database, claims, scan, from: from, owner: owner)
            }
            for run in free.runs {
                try database.insert(OutboxClaim(owner: owner, untilMs: nowMs + leaseMs, ids: run))
            }
            return (free.rows, free.scan)
        }
    }

    package func deleteOutbox(_ ids: [Int64], owner: String) async throws {
        guard !ids.isEmpty else { return }
        try await writeRows { database in
            let claims = try database.outboxClaims()
            var deleted = 0
            for run in OutboxClaims.runs(claims.notHeld(ids, byOthersThan: owner)) {
                try database.run("DELETE FROM outbox WHERE id BETWEEN ? AND ?", [run.lowerBound, run.upperBound])
                deleted += database.changesCount
            }
            try database.run("UPDATE outbox_count SET rows = rows - ? WHERE id = 1", [deleted])
            for claim in claims.claims where claim.owner == owner {
                if try !database.hasOutboxRow(in: claim.ids) { try database.delete(claim) }
            }
        }
    }

    package func releaseOutbox(_ ids: [Int64], owner: String) async throws {
        guard !ids.isEmpty else { return }
        try await writeRows { database in
            let claims = try database.outboxClaims()
            let held = claims.held(ids, by: owner)
            for claim in claims.claims where claim.owner == owner {
                let left = OutboxClaims.remainder(of: claim, without: held)
                guard left != [claim] else { continue }
                try database.delete(claim)
                for part in left where try database.hasOutboxRow(in: part.ids) { try database.insert(part) }
            }
        }
    }

    package func countOutbox() async throws -> OutboxCount {
        let countedAt = ContinuousClock.now
        return try await readRows { database in
            let rows = try database.integer("SELECT rows FROM outbox_count WHERE id = 1")
            let oldest = try database.row(
                "SELECT created_ms FROM outbox WHERE topic = 'challenges' ORDER BY id LIMIT 1")
            return OutboxCount(rows: Int(rows), oldestDispatchMs: oldest.map { $0[0] }, countedAt: countedAt)
        }
    }

    fileprivate struct Free {
        var rows: [OutboxRow]
        /// Their ids as ranges with no other row between them.
        var runs: [ClosedRange<Int64>]
        /// The claims of other owners that decided what was free.
        var others: [OutboxClaim]
        /// As it ended.
        var scan: OutboxScan
    }

    /// The oldest free rows that the scan takes, without those whose key another owner holds an earlier row of: they
    /// would overtake it.
    private static func free(
        _ database: Database, _ claims: OutboxClaims, _ scan: OutboxScan, from: Int64, owner: String
    ) throws -> Free {
        var scan = scan
        let others = claims.byOthers(than: owner)
        var held: Set<String> = []
        for claim in others {
            held.formUnion(
                try database.texts(
                    "SELECT topic || ' ' || key FROM outbox WHERE id BETWEEN ? AND ?",
                    [claim.ids.lowerBound, claim.ids.upperBound]))
        }
        var found: [OutboxRow] = []
        var runs: [ClosedRange<Int64>] = []
        for gap in claims.gaps where !scan.isFull && gap.upperBound >= from && gap.lowerBound <= scan.ids.upperBound {
            let cursor = try database.cursor(
                """
                SELECT id, topic, key, value, content_type, expires_ms, traceparent FROM outbox \
                WHERE id BETWEEN ? AND ? ORDER BY id
                """, [max(gap.lowerBound, from), min(gap.upperBound, scan.ids.upperBound)])
            var isJoined = false
            while !scan.isFull, let row = try cursor.next() {
                let taken = try Self.take(row, &scan, held: held)
                defer { isJoined = taken != nil }
                guard let taken else { continue }
                found.append(taken)
                if isJoined, let last = runs.last {
                    runs[runs.count - 1] = last.lowerBound...taken.id
                } else {
                    runs.append(taken.id...taken.id)
                }
            }
        }
        return Free(rows: found, runs: runs, others: others, scan: scan)
    }

    /// - Parameter held: topics and keys that other owners hold rows of.
    /// - Returns: nil when the scan leaves it; then its value was not read.
    private static func take(_ row: Row, _ scan: inout OutboxScan, held: Set<String>) throws -> OutboxRow? {
        var columns = Columns(row)
        let id = columns.int64()
        guard let topic = Topic(rawValue: columns.text()) else {
            throw StoreError.failed("outbox row \(id) names an unknown topic")
        }
        let key = columns.text()
        let isFree = held.isEmpty || !held.contains("\(topic.rawValue) \(key)")
        guard scan.takes(id, topic, key: key, isFree: isFree) else { return nil }
        let value = columns.bytes()
        guard let contentType = ContentType(rawValue: columns.text()) else {
            throw StoreError.failed("outbox row \(id) names an unknown content type")
        }
        return OutboxRow(
            id: id, topic: topic, key: key, value: value, contentType: contentType,
            expiresAtMs: columns.optionalInt64(),
            traceparent: columns.optionalText())
    }
}

extension Database {
    /// None of them was claimed, published and deleted by somebody else meanwhile.
    fileprivate func areThere(_ found: SQLiteEngine.Free) throws -> Bool {
        var count: Int64 = 0
        for run in found.runs {
            count += try integer(
                "SELECT count(*) FROM outbox WHERE id BETWEEN ? AND ?", [run.lowerBound, run.upperBound])
        }
        return count == Int64(found.rows.count)
    }
}
