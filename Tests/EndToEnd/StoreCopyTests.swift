import AsyncHTTPClient
import DeviceKit
import Foundation
import Simulators
import TestSupport
import Testing

/// `beckon store copy` as an operator runs it: real processes, and `kill -9` while rows are on their way.
@Suite("beckon store copy", .postgres, .timeLimit(.minutes(10)))
struct StoreCopyTests {
    @Test("killed several times, it goes on where it stopped; then devices of the old store approve on the new one")
    func killed() async throws {
        let server = try await PostgresServer()
        let database = try await server.database()
        let target = server.url(database)
        try await BeckonCluster.with { cluster in
            let producer = try cluster.start("producer", "producer")
            _ = try await producer.ready()
            let service = try await cluster.backend.createService(friendlyName: "bank")
            let devices = DeviceClient(apiURL: cluster.apiURL, transport: HTTPClientTransport(cluster.client))
            let device = try await enrol(service, cluster.backend, devices)
            var draft = ChallengeDraft(message: "Before the copy?")
            draft.factorSID = device.registration.factorSID
            let before = try await cluster.backend.createChallenge(
                serviceSID: service, identity: Self.identity, draft)
            #expect(await producer.stop() == 0)
            let source = "sqlite://" + cluster.folder.appending(path: "beckon.sqlite").path
            _ = try await cluster.run(["bench", "fill", "--people", "300", "--challenges", "1500"])
            let copy = ["store", "copy", "--from", source, "--to", target]

            // Not yet: there are no tables.
            let refused = await #expect(throws: BeckonProcess.Failure.self) { _ = try await cluster.run(copy) }
            #expect(refused?.description.contains("ended with 2") == true)
            #expect(refused?.description.contains("beckon migrate up") == true)
            _ = try await cluster.run(["migrate", "up"], more: Self.on(target))
            let planned = try Self.lines(await cluster.run(copy + ["--json", "--dry-run"]))
            #expect(planned.last?.rows ?? 0 > 8000)

            // Stopped within the rows of a table, and killed there; twice more at any moment.
            let copied = "SELECT coalesce(sum(copied), 0) FROM store_copies"
            let stop = try BlockedRows(server, database)
            try await stop.hold()
            let stuck = try BeckonProcess(
                "copy", copy + ["--batch-rows", "40"], isRole: false, folder: cluster.folder)
            let waiting = """
                SELECT count(*) FROM pg_stat_activity \
                WHERE application_name = 'beckon-copy' AND wait_event_type = 'Lock'
                """
            while try await server.sql(waiting, in: database) == "0" {
                #expect(stuck.isRunning, "\(stuck.tail)")
                try await Task.sleep(for: .milliseconds(10))
            }
            stuck.kill()
            stop.release()
            var rows = Int(try await server.sql(copied, in: database)) ?? 0
            #expect(rows > 3000 && rows < planned.last?.rows ?? 0)
            // Half of a store is no store.
            let early = try cluster.start("early", "producer", more: Self.on(target))
            await #expect { _ = try await early.ready() } throws: { "\($0)".contains("beckon store copy") }
            for _ in 0..<2 {
                let process = try BeckonProcess(
                    "copy", copy + ["--batch-rows", "40"], isRole: false, folder: cluster.folder)
                while process.isRunning, Int(try await server.sql(copied, in: database)) ?? 0 < rows + 200 {}
                process.kill()
                rows = Int(try await server.sql(copied, in: database)) ?? 0
            }
            let lines = try Self.lines(await cluster.run(copy + ["--json"]))
            let done = try #require(lines.last)
            #expect(done.step == "done" && done.rows == planned.last?.rows && done.rowsBefore ?? 0 > 3000)
            #expect(lines.filter { $0.step == "done" && $0.table != nil }.allSatisfy { $0.checksum?.count == 32 })

            let second = try cluster.start("second", "producer", more: Self.on(target))
            _ = try await second.ready()
            let old = try await device.pendingChallenges()
            #expect(old.map(\.sid) == [before.sid])
            try await device.answer(old[0], approved: true)
            draft.message = "After it?"
            let after = try await cluster.backend.createChallenge(
                serviceSID: service, identity: Self.identity, draft)
            try await device.answer(device.challenge(after.sid), approved: true)
            for challenge in [before, after] {
                let now = try await cluster.backend.challenge(
                    serviceSID: service, identity: Self.identity, sid: challenge.sid)
                #expect(now.status == "approved")
            }
            #expect(await second.stop() == 0)
        }
        try await server.stop()
    }

    private static let identity = "person-who-moves"

    private static func on(_ url: String) -> [String: String] {
        ["BECKON_STORE_PATH": "", "BECKON_STORE_URL": url]
    }

    private struct Line: Decodable {
        let step: String
        let table: String?
        let rows: Int
        let rowsBefore: Int?
        let checksum: String?
    }

    private static func lines(_ text: String) throws -> [Line] {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try text.split(separator: "\n").map { try decoder.decode(Line.self, from: Data($0.utf8)) }
    }

    private func enrol(_ service: String, _ backend: BackendClient, _ devices: DeviceClient) async throws -> Device {
        let token = try await backend.createAccessToken(
            serviceSID: service, identity: Self.identity, friendlyName: "phone")
        let device = try await devices.register(
            accessToken: token,
            enrolment: Enrolment(
                serviceSID: service, identity: Self.identity, friendlyName: "phone", appID: "dev.beckon.phone",
                platform: .none, pushToken: nil), signer: SoftwareKey())
        try await device.verify()
        return device
    }
}

/// Rows of delivery facts that cannot be inserted, as long as a shell of the server holds a lock.
private final class BlockedRows: Sendable {
    private let shell: Process
    private let input = Pipe()
    private let server: PostgresServer
    private let database: String

    init(_ server: PostgresServer, _ database: String) throws {
        (self.server, self.database) = (server, database)
        shell = try server.shell(in: database, input: input)
    }

    /// Returns when it is held.
    func hold() async throws {
        try await server.sql(
            """
            CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NEW; END $$;
            CREATE TRIGGER wait_here BEFORE INSERT ON delivery_facts FOR EACH ROW
                WHEN (NEW.id LIKE 'fill-1-%') EXECUTE FUNCTION wait_here()
            """, in: database)
        try input.fileHandleForWriting.write(contentsOf: Data("SELECT pg_advisory_lock(42);\n".utf8))
        let isHeld = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND granted"
        while try await server.sql(isHeld, in: database) == "0" { try await Task.sleep(for: .milliseconds(10)) }
    }

    func release() { try? input.fileHandleForWriting.close() }
}
