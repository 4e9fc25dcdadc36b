import ChallengeModel
import Foundation
import GRDB
import Testing

@testable import Challenges
@testable import Storage

@Suite("Outbox claims", .timeLimit(.minutes(5)))
struct OutboxClaimsTests {
    private func claim(_ owner: String, _ ids: ClosedRange<Int64>) -> OutboxClaim {
        OutboxClaim(owner: owner, untilMs: 10, ids: ids)
    }

    @Test("gaps are what lies between the claims, and everything behind the last")
    func gaps() {
        #expect(OutboxClaims(claims: []).gaps == [1...Int64.max])
        let claims = OutboxClaims(claims: [claim("a", 1...3), claim("b", 4...4), claim("a", 8...9)])
        #expect(claims.gaps == [5...7, 10...Int64.max])
    }

    @Test("an owner holds what lies in its own ranges, each once; what no other holds is its to delete")
    func held() {
        let claims = OutboxClaims(claims: [claim("a", 1...3), claim("b", 4...6), claim("a", 8...9)])
        #expect(claims.held([9, 2, 2, 5, 7, 8, 1], by: "a") == [1, 2, 8, 9])
        #expect(claims.held([4, 6, 7], by: "b") == [4, 6])
        #expect(claims.held([1], by: "c") == [])
        #expect(claims.notHeld([9, 2, 2, 5, 7, 8, 1], byOthersThan: "a") == [1, 2, 7, 8, 9])
        #expect(claims.notHeld([1, 7], byOthersThan: "b") == [7])
    }

    @Test("what is given back leaves the rest of the range held")
    func remainder() {
        let whole = claim("a", 1...9)
        #expect(OutboxClaims.remainder(of: whole, without: [1, 2, 5, 9, 12]).map(\.ids) == [3...4, 6...8])
        #expect(OutboxClaims.remainder(of: whole, without: []) == [whole])
        #expect(OutboxClaims.remainder(of: claim("a", 3...4), without: [3, 4]).isEmpty)
        #expect(OutboxClaims.runs([1, 2, 3, 7, 9, 10]) == [1...3, 7...7, 9...10])
    }

    @Test("the counter follows additions, deletions and writes undone")
    func counter() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "s.db").path
            var store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            func add(_ count: Int) async throws {
                try await store.sqlite.writeRows { database in
                    for _ in 0..<count {
                        try SQLiteTransaction(connection: database).enqueue(
                            OutboxRecord(.events, key: "k", value: [1], contentType: .cloudEvent), nowMs: 0)
                    }
                }
            }
            struct Undone: Error {}
            try await add(5)
            await #expect(throws: (any Error).self) {
                try await store.sqlite.writeRows { database in
                    try SQLiteTransaction(connection: database).enqueue(
                        OutboxRecord(.events, key: "k", value: [1], contentType: .cloudEvent), nowMs: 0)
                    throw Undone()
                }
            }
            #expect(try await store.outbox.outboxState().rows == 5)
            let rows = try await store.outbox.claimOutbox(owner: "o", limit: 3, leaseMs: 1000, nowMs: 0)
            try await store.outbox.deleteOutbox(rows.map(\.id) + rows.map(\.id) + [999], owner: "o")
            #expect(try await store.outbox.outboxState().rows == 2)
            await store.close()
            store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, logger: quiet)
            try await add(4)
            #expect(try await store.outbox.outboxState().rows == 6)
            let counted = try await store.sqlite.readRows { try $0.integer("SELECT count(*) FROM outbox") }
            #expect(counted == 6)
            await store.close()
        }
    }

    @Test("a relay that claims, deletes and gives back beside writers loses no row and sees none twice")
    func concurrent() async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "s.db").path, keys: TestKeys.both, logger: quiet)
            let seen = try await withThrowingTaskGroup(of: [Int64].self) { group async throws in
                for writer in 0..<4 {
                    group.addTask {
                        for index in 0..<100 {
                            try await store.sqlite.writeRows {
                                try SQLiteTransaction(connection: $0).enqueue(
                                    OutboxRecord(
                                        .events, key: "\(writer)-\(index)", value: [1], contentType: .cloudEvent),
                                    nowMs: 0)
                            }
                        }
                        return []
                    }
                }
                for owner in ["a", "b"] {
                    group.addTask {
                        var mine: [Int64] = []
                        while true {
                            let (rows, last) = try await store.sqlite.readRows {
                                (try $0.integer("SELECT count(*) FROM outbox"), try $0.lastOutboxID())
                            }
                            if rows == 0, last == 400 { return mine }
                            let claimed = try await store.outbox.claimOutbox(
                                owner: owner, limit: 7, leaseMs: 1_000_000, nowMs: 0)
                            // Every fifth comes round again.
                            let back = claimed.map(\.id).filter { _ in Int.random(in: 0..<5) == 0 }
                            try await store.outbox.releaseOutbox(back, owner: owner)
                            let done = claimed.map(\.id).filter { !back.contains($0) }
                            try await store.outbox.deleteOutbox(done, owner: owner)
                            mine += done
                        }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(seen.count == 400 && Set(seen).count == 400)
            #expect(try await store.outbox.outboxState().rows == 0)
            #expect(try await store.sqlite.readRows { try $0.outboxClaims().claims.isEmpty })
            await store.close()
        }
    }
}
