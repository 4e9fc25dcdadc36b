public import ChallengeModel
public import Challenges
import Foundation
import GRDB
import Wire

/// What a measurement wants in the store before it starts: people with a device each, and challenges that are over. The
/// SIDs of people and devices are numbers, so that whoever knows a person's number knows them. Faster than the API by
/// two orders of magnitude, and without what the API would leave in outbox and audit trail.
public struct StoreFill: Sendable {
    public let account: AccountSID
    public let service: ServiceSID
    /// Identities with one verified push factor each.
    public let people: Int
    /// Challenges approved in the last 29 days, over all people in turn.
    public let closedChallenges: Int
    /// Of every device; SubjectPublicKeyInfo in DER.
    public let publicKey: [UInt8]
    /// Delivery facts of each of the challenges, as long as real ones, which nobody can read.
    public var factsPerChallenge = 0
    /// Events in the audit trail for each of the challenges.
    public var auditPerChallenge = 0

    public init(account: AccountSID, service: ServiceSID, people: Int, closedChallenges: Int, publicKey: [UInt8]) {
        self.account = account
        self.service = service
        self.people = people
        self.closedChallenges = closedChallenges
        self.publicKey = publicKey
    }

    public static func identity(_ person: Int) -> String { "person-\(1_000_000 + person)" }
    public static func factor(_ person: Int) -> String { "YF03" + digits(person, 30) }
    /// The `kid` of the person's device.
    public static func keyID(_ person: Int) -> String { "CR" + digits(person, 32) }

    private static func digits(_ number: Int, _ count: Int) -> String {
        Hexadecimal.encode(UInt64(number), digits: count)
    }
}

extension ChallengeStore {
    /// Writes it all, in a few transactions. A PostgreSQL store takes people only.
    public func fill(_ fill: StoreFill, nowMs: Int64) async throws {
        if let engine = engine as? PostgresEngine { return try await engine.fill(fill, nowMs: nowMs) }
        guard let engine = engine as? SQLiteEngine else { throw StoreError.failed("the store cannot be filled") }
        let step = 100_000
        for first in stride(from: 0, to: fill.people, by: step) {
            let last = min(first + step, fill.people) - 1
            try await engine.writeRows { database in try database.insertPeople(fill, first, last, nowMs: nowMs) }
        }
        for first in stride(from: 0, to: fill.closedChallenges, by: step) {
            let last = min(first + step, fill.closedChallenges) - 1
            try await engine.writeRows { database in try database.insertClosed(fill, first, last, nowMs: nowMs) }
        }
    }
}

extension Database {
    private static let numbers = "WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)"

    fileprivate func insertPeople(_ fill: StoreFill, _ first: Int, _ last: Int, nowMs: Int64) throws {
        let (account, service) = (fill.account.rawValue, fill.service.rawValue)
        try run(
            """
            \(Self.numbers) INSERT INTO entities (sid, account_sid, service_sid, identity, identity_key, created_ms, \
            updated_ms) SELECT printf('YE%032x', i), ?, ?, printf('person-%d', 1000000 + i), \
            printf('person-%d', 1000000 + i), ?, ? FROM n
            """, [first, last, account, service, nowMs, nowMs])
        try run(
            """
            \(Self.numbers) INSERT INTO factors (sid, account_sid, service_sid, entity_sid, identity, friendly_name, \
            verified, public_key, key_id, platform, push_token, app_id, environment, registered_ms, created_ms, updated_ms) \
            SELECT printf('YF03%030x', i), ?, ?, printf('YE%032x', i), printf('person-%d', 1000000 + i), 'phone', 1, ?, \
            printf('CR%032x', i), ?, printf('%0150d', i), 'com.example.bank', 0, ?, ?, ? FROM n
            """,
            [
                first, last, account, service, blob(fill.publicKey), Platform.fcm.rawValue, nowMs, nowMs, nowMs,
            ])
    }

    fileprivate func insertClosed(_ fill: StoreFill, _ first: Int, _ last: Int, nowMs: Int64) throws {
        let redelivery = blob(StorePolicy.completed(Redelivery()).protobufBytes())
        // From 29 days ago to a day ago: all within the retention, none pending.
        let times = "(SELECT i, ? + i * ? / ? AS t FROM n)"
        let range: Arguments = [first, last]
        let span: Arguments = [
            nowMs - 29 * StorePolicy.dayMs, 28 * StorePolicy.dayMs, max(1, fill.closedChallenges),
        ]
        // A SID begins with its time.
        let sid = "printf('YC03%012x%018x', t, i)"
        try run(
            """
            \(Self.numbers) INSERT INTO challenges (sid, account_sid, service_sid, entity_sid, identity, factor_sid, \
            message, fields, hidden_details, include_date, expires_ms, created_ms, updated_ms, responded_ms, status, \
            responder_sid, signed_answer, fallbacks, redelivery) \
            SELECT \(sid), ?, ?, printf('YE%032x', i % ?), printf('person-%d', 1000000 + i % ?), \
            printf('YF03%030x', i % ?), 'Sign in to Bank?', '[{"label":"Where","value":"Berlin"}]', '{"ip":"10.0.0.1"}', 0, \
            t + 300000, t, t + 9000, t + 9000, 'approved', printf('YF03%030x', i % ?), printf('%0700d', i), '[]', ? FROM \(times)
            """,
            range + [fill.account.rawValue, fill.service.rawValue]
                + [fill.people, fill.people, fill.people, fill.people, redelivery] + span)
        try run(
            """
            \(Self.numbers) INSERT INTO challenge_targets (challenge_sid, factor_sid, background_budget, polled) \
            SELECT \(sid), printf('YF03%030x', i % ?), 0, 1 FROM \(times)
            """, range + [fill.people] + span)
        for fact in 0..<fill.factsPerChallenge {
            try run(
                """
                \(Self.numbers) INSERT INTO delivery_facts (challenge_sid, id, fact) \
                SELECT \(sid), printf('fill-%d-%056x', ?, i), randomblob(90) FROM \(times)
                """, range + [fact] + span)
        }
        for _ in 0..<fill.auditPerChallenge {
            try run(
                """
                \(Self.numbers) INSERT INTO audit_events (sid, account_sid, at_ms, actor, action, subject, traffic) \
                SELECT printf('AE%012x%020x', t, i), ?, t, ?, 'challenge.approved', \(sid), 1 FROM \(times)
                """, range + [fill.account.rawValue, fill.account.rawValue] + span)
        }
    }
}
