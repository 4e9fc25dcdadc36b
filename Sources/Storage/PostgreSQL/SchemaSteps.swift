import Challenges
import Foundation
import Wire

extension PostgresSchema {
    /// The number of the last step that was done; 0: none was.
    static func state(_ connection: PostgresConnection) throws -> Int {
        let found = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_steps')"
        guard try connection.rows(found, [PostgresValue]())[0].int64(0) == 1 else { return 0 }
        let last = "SELECT coalesce(max(number), 0) FROM schema_steps WHERE state = 'done'"
        return Int(try connection.rows(last, [PostgresValue]())[0].int64(0))
    }

    /// Does a step in the open transaction, unless it is done.
    /// - Returns: false when another process is at one: to be tried again.
    static func take(_ step: Step, _ connection: PostgresConnection) throws -> Bool {
        // Never waited for: whoever builds an index beside its writers waits for every transaction that is open, ours
        // too.
        let lock = "SELECT pg_try_advisory_xact_lock(\(advisoryLock), 0)::int"
        guard try connection.rows(lock, [PostgresValue]())[0].int64(0) == 1 else { return false }
        guard try state(connection) < step.number else { return true }
        // A change of a table waits for its readers, and everybody who comes then waits behind it.
        try connection.run("SET LOCAL lock_timeout = '1s'")
        try connection.run(
            """
            CREATE TABLE IF NOT EXISTS schema_steps (
                number integer PRIMARY KEY, name text NOT NULL, state text NOT NULL, began_at timestamptz NOT NULL,
                done_at timestamptz
            )
            """)
        try connection.run(
            """
            INSERT INTO schema_steps (number, name, state, began_at) VALUES (?, ?, 'began', clock_timestamp()) \
            ON CONFLICT (number) DO UPDATE SET began_at = excluded.began_at
            """, [.integer(Int64(step.number)), .text(step.name)])
        for statement in step.statements { try connection.run(statement) }
        try connection.run(
            "UPDATE schema_steps SET state = 'done', done_at = clock_timestamp() WHERE number = ?",
            [.integer(Int64(step.number))])
        return true
    }
}

extension PostgresEngine {
    /// Brings the schema up to date, and makes room for the days to come. Several processes may do so at once.
    /// - Parameter last: the last step to do.
    /// - Returns: the steps that were missing when it began.
    /// - Throws: ``StoreError/failed(_:)`` when a later version has changed the schema.
    @discardableResult
    func migrate(through last: Int = .max) async throws -> [PostgresSchema.Step] {
        let state = try await run(.read) { try PostgresSchema.state($0) }
        guard state <= PostgresSchema.served.upperBound else { throw PostgresSchema.unserved(state) }
        let missing = PostgresSchema.steps.filter { $0.number > state && $0.number <= last }
        for step in missing {
            while try await !run(.write, { try PostgresSchema.take(step, $0) }) {
                try await Task.sleep(for: .milliseconds(200))
            }
        }
        try await makeDays()
        return missing
    }

    /// - Throws: ``StoreError/failed(_:)`` when this version cannot serve the schema, or only a part of a store is
    ///   there.
    func checkSchema() async throws {
        let (state, isPart) = try await run(.read) { connection in
            (try PostgresSchema.state(connection), try StoreCopies.isUnfinished(connection))
        }
        guard PostgresSchema.served.contains(state) else { throw PostgresSchema.unserved(state) }
        guard !isPart else {
            throw StoreError.failed(
                "a store is being copied to the database, and a part of it is missing: run beckon store copy to its end"
            )
        }
        // After a long stop there is no room for today.
        try await makeDays()
    }

    private func makeDays() async throws {
        let days = Days(nowMs: Timestamp.nowMs(), challengesUntilMs: 0, trafficUntilMs: 0)
        if try await read({ try $0.areDaysMissing(days) }) { try await write { try $0.makeDays(days) } }
    }
}

extension PostgresSchema {
    static func unserved(_ state: Int) -> StoreError {
        let (first, last) = (served.lowerBound, served.upperBound)
        let range = first == last ? "\(first)" : "\(first) to \(last)"
        if state == 0 {
            return .failed("the database has no tables of Beckon: expected schema \(range); run beckon migrate up")
        }
        return .failed(
            state > last
                ? """
                the database has schema \(state), and this version of Beckon serves \(range): use the version that migrated it, or \
                a later one
                """
                : "the database has schema \(state), and this version of Beckon serves \(range): run beckon migrate up")
    }
}
