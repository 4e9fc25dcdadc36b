import GRDB

/// Who holds which outbox rows until when. A claim is a range of ids, not a mark on every row: rows are written once
/// and deleted once. Rows that come later have higher ids than any there was, so that none can appear inside a range.
struct OutboxClaim: Equatable {
    let owner: String
    let untilMs: Int64
    var ids: ClosedRange<Int64>
}

/// The claims of an outbox, in the order of their ids; they do not overlap. Pure.
struct OutboxClaims {
    var claims: [OutboxClaim]

    /// The ids that nobody holds, lowest first; the last gap has no end.
    var gaps: [ClosedRange<Int64>] {
        var gaps: [ClosedRange<Int64>] = []
        var next: Int64 = 1
        for claim in claims {
            if claim.ids.lowerBound > next { gaps.append(next...(claim.ids.lowerBound - 1)) }
            next = claim.ids.upperBound + 1
        }
        gaps.append(next...Int64.max)
        return gaps
    }

    func byOthers(than owner: String) -> [OutboxClaim] { claims.filter { $0.owner != owner } }

    func overlap(_ runs: [ClosedRange<Int64>]) -> Bool {
        runs.contains { run in claims.contains { $0.ids.overlaps(run) } }
    }

    /// Those of `ids` that `owner` holds, ascending, each once.
    func held(_ ids: [Int64], by owner: String) -> [Int64] {
        Self.covered(ids, by: claims.filter { $0.owner == owner })
    }

    /// Those of `ids` that nobody else holds than `owner`, ascending, each once.
    func notHeld(_ ids: [Int64], byOthersThan owner: String) -> [Int64] {
        Set(ids).subtracting(Self.covered(ids, by: byOthers(than: owner))).sorted()
    }

    private static func covered(_ ids: [Int64], by claims: [OutboxClaim]) -> [Int64] {
        var held: [Int64] = []
        var rest = claims[...]
        for id in ids.sorted() where held.last != id {
            while let first = rest.first, first.ids.upperBound < id { rest.removeFirst() }
            if let first = rest.first, first.ids.contains(id) { held.append(id) }
        }
        return held
    }

    /// What is left of `claim` without `ids`, which ascend.
    static func remainder(of claim: OutboxClaim, without ids: some Sequence<Int64>) -> [OutboxClaim] {
        var left: [OutboxClaim] = []
        var next = claim.ids.lowerBound
        func keep(to last: Int64) {
            guard next <= last else { return }
            left.append(OutboxClaim(owner: claim.owner, untilMs: claim.untilMs, ids: next...last))
        }
        for id in ids where claim.ids.contains(id) {
            keep(to: id - 1)
            next = id + 1
        }
        keep(to: claim.ids.upperBound)
        return left
    }

    /// Neighbours in `ids`, which ascend, as ranges.
    static func runs(_ ids: [Int64]) -> [ClosedRange<Int64>] {
        var runs: [ClosedRange<Int64>] = []
        for id in ids {
            if let last = runs.last, last.upperBound + 1 == id {
                runs[runs.count - 1] = last.lowerBound...id
            } else {
                runs.append(id...id)
            }
        }
        return runs
    }
}

extension Database {
    func outboxClaims() throws -> OutboxClaims {
        OutboxClaims(
            claims: try rows("SELECT first_id, last_id, owner, until_ms FROM outbox_claims ORDER BY first_id").map {
                OutboxClaim(owner: $0[2], untilMs: $0[3], ids: ($0[0] as Int64)...($0[1] as Int64))
            })
    }

    func insert(_ claim: OutboxClaim) throws {
        try run(
            "INSERT INTO outbox_claims (first_id, last_id, owner, until_ms) VALUES (?, ?, ?, ?)",
            [claim.ids.lowerBound, claim.ids.upperBound, claim.owner, claim.untilMs])
    }

    func delete(_ claim: OutboxClaim) throws {
        try run("DELETE FROM outbox_claims WHERE first_id = ?", [claim.ids.lowerBound])
    }

    func hasOutboxRow(in ids: ClosedRange<Int64>) throws -> Bool {
        try exists("SELECT 1 FROM outbox WHERE id BETWEEN ? AND ? LIMIT 1", [ids.lowerBound, ids.upperBound])
    }
}
