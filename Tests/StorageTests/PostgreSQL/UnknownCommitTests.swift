import Challenges
import Synchronization
import TestSupport
import Testing

@testable import Storage

/// 60 cuts each, as in the measurements that decision 19 rests on.
@Suite("PostgreSQL: a COMMIT without an answer", .postgres, .timeLimit(.minutes(10)))
struct UnknownCommitTests {
    private static let cuts = 60

    /// Inserts one row per round, each of which meets the fault once. - Returns: how often bodies were run.
    private func run(
        _ fault: PostgresProxy.Fault, rounds: Int = cuts,
        check: (PostgresWorld, PostgresProxy) async throws -> Void = { _, _ in }
    ) async throws -> (runs: Int, world: StoreConnections) {
        let server = try await PostgresServer.shared()
        let proxy = try PostgresProxy(to: server.socket)
        defer { proxy.close() }
        return try await PostgresWorld.with(server, proxy: proxy) { world in
            let runs = Atomic(0)
            for round in 0..<rounds {
                // Another connection of before is there to be asked.
                try await world.untilWarm()
                proxy.set(fault, times: 1)
                try await world.engine.run(.write) { connection in
                    runs.add(1, ordering: .relaxed)
                    _ = try connection.integer("SELECT 1", [])
                    try connection.run("INSERT INTO things (id, name) VALUES (?, ?)", [Int64(round), "x"])
                }
            }
            #expect(proxy.cuts == rounds)
            #expect(try await world.count() == rounds, "each row once")
            try await check(world, proxy)
            return (runs.load(ordering: .relaxed), try #require(world.engine.connections))
        }
    }

    @Test("cut before the COMMIT reaches the server: found undone, and run again")
    func before() async throws {
        let (runs, connections) = try await run(.cutBeforeCommit)
        #expect(runs == 2 * Self.cuts)
        #expect(connections.settledAborts == Self.cuts && connections.settledCommits == 0)
    }

    @Test("cut behind the COMMIT: found done or undone, and never done twice")
    func behind() async throws {
        let (runs, connections) = try await run(.cutBehindCommit)
        // The answer may be quicker than the cut. The next body may then begin on the connection that is about to end.
        let settled = connections.settledAborts + connections.settledCommits
        #expect((1...Self.cuts).contains(settled))
        let needed = Self.cuts + connections.settledAborts
        #expect((needed...needed + Self.cuts - settled).contains(runs))
    }

    @Test("cut when the server has answered: found done, and not run again")
    func answered() async throws {
        let (runs, connections) = try await run(.cutCommitAnswer)
        #expect(runs == Self.cuts)
        #expect(connections.settledCommits == Self.cuts && connections.settledAborts == 0)
    }

    @Test("a session that stays behind in its transaction is ended after a while, and the body run again")
    func halfOpen() async throws {
        let server = try await PostgresServer.shared()
        let proxy = try PostgresProxy(to: server.socket)
        defer { proxy.close() }
        try await PostgresWorld.with(server, proxy: proxy) { world in
            try await world.untilWarm()
            let runs = Atomic(0)
            // The write waits for a lock with its COMMIT behind it, and nobody tells the server that its client is
            // gone.
            try await world.insert(1)
            try await world.server.sql(
                """
                CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                IF (SELECT count(*) FROM things) < 2 AND current_setting('application_name') = 'beckon' AND NEW.name = 'slow' \
                THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END $$;
                CREATE TRIGGER slow BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION slow();
                """, in: world.database)
            proxy.set(.halfOpenAtCommit, times: 1)
            try await world.engine.run(.write) { connection in
                let isFirst = runs.add(1, ordering: .relaxed).newValue == 1
                _ = try connection.integer("SELECT 1", [])
                try connection.run("INSERT INTO things (id, name) VALUES (2, ?)", [isFirst ? "slow" : "quick"])
            }
            #expect(runs.load(ordering: .relaxed) == 2)
            #expect(try await world.server.sql("SELECT name FROM things WHERE id = 2", in: world.database) == "quick")
            #expect(world.engine.connections?.settledAborts == 1)
        }
    }

    @Test("without a session of before, what is found done may be another's: the caller is told that it is not known")
    func noWitness() async throws {
        let server = try await PostgresServer.shared()
        let proxy = try PostgresProxy(to: server.socket)
        defer { proxy.close() }
        try await PostgresWorld.with(server, proxy: proxy, connections: 1) { world in
            proxy.set(.cutCommitAnswer, times: 1)
            let error = await #expect(throws: StoreError.self) { try await world.insert(1) }
            guard case .unavailable(let fault)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(fault.mayBeDone)
            #expect(try await world.count() == 1)
            // What is found undone is believed of any session.
            proxy.set(.cutBeforeCommit, times: 1)
            try await world.insert(2)
            #expect(try await world.count() == 2)
            #expect(world.engine.connections?.unknownCommits == 1)
        }
    }

    @Test(
        "of another timeline, another cluster, or a number of the future nothing is believed but that it was not there")
    func otherServers() async throws {
        try await PostgresWorld.with { world in
            let fates = try await world.engine.run(.read) { connection -> [CommitFate] in
                let server = try #require(connection.server)
                let (deadline, row) = (
                    ContinuousClock.now + .seconds(60),
                    try #require(try connection.row("SELECT pg_current_xact_id()::text", []))
                )
                let id = row.text(0)
                return try [
                    UnknownCommit(id: id, startedUs: .max, server: nil),
                    UnknownCommit(id: id, startedUs: .max, server: server.with(system: "1")),
                    UnknownCommit(id: id, startedUs: .max, server: server.with(timeline: "00000002")),
                    UnknownCommit(id: "99999999999", startedUs: .max, server: server),
                    UnknownCommit(id: id, startedUs: 0, server: server),
                    UnknownCommit(id: id, startedUs: .max, server: server),
                ].map { try connection.fate(of: $0, deadline: deadline) }
            }
            #expect(
                fates.map { if case .unknown = $0 { true } else { false } } == [true, true, true, false, true, false])
            #expect(fates[3] == .aborted && fates[5] == .committed)
        }
    }
}

extension PostgresIdentity {
    fileprivate func with(system: String? = nil, timeline: String? = nil) -> PostgresIdentity {
        PostgresIdentity(system: system ?? self.system, timeline: timeline ?? self.timeline)
    }
}
