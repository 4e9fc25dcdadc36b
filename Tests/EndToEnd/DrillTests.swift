import AsyncHTTPClient
import DeviceKit
import Foundation
import Simulators
import Synchronization
import TestSupport
import Testing

/// The drill of docs/scaling.md, block by block as it stands there, with a producer, a phone and a backend around it.
@Suite("Backup, restore and failover as the documentation says", .postgres, .timeLimit(.minutes(15)))
struct DrillTests {
    @Test("a restored database has what was acknowledged before, and a promoted standby what was acknowledged at all")
    func drill() async throws {
        let drill = try Drill()
        try await drill.run(through: 2)
        // A socket of another user's: in production `hostssl … scram-sha-256`.
        try await drill.run("sed -i '1i local beckon postgres trust' \"$PGDATA/pg_hba.conf\"")
        try await drill.run("\"$PGBIN/pg_ctl\" -D \"$PGDATA\" -s reload")
        _ = try await BeckonProcess.output(of: ["migrate", "up", "--store-url", drill.url(ports: [0])])
        try await BeckonCluster.with(storeURL: drill.url(ports: [0, 2])) { cluster in
            _ = try await cluster.start("producer", "producer").ready()
            let people = try await People(cluster)

            // The server restarts, with an archive; then everything is backed up, lost, and restored.
            try await people.during(atLeast: 5) { try await drill.run(through: 3) }
            try await people.during(atLeast: 5) { try await drill.run(through: 4) }
            try await drill.run(through: 6)
            try await drill.run(
                "\"$PGBIN/pg_ctl\" -D \"$RESTORED\" -l \"$RESTORED/server.log\" -o \"-p $((PORT + 1)) -k $SOCKETS\" -s -w start"
            )
            let port = try BeckonCluster.freePort()
            let restored = try cluster.start(
                "restored", "producer",
                more: ["BECKON_STORE_URL": drill.url(ports: [1]), "BECKON_API_PORT": "\(port)"])
            _ = try await restored.ready()
            try await people.check(at: "http://127.0.0.1:\(port)")
            #expect(await restored.stop() == 0)
            try await drill.run("\"$PGBIN/pg_ctl\" -D \"$RESTORED\" -s -w -m fast stop")
            people.forget()

            // A dump; a synchronous standby; the primary is killed under load, and the old one comes back as a standby.
            try await drill.run(through: 9)
            try await people.during(atLeast: 20) { try await drill.run(through: 10) }
            try await people.during(atLeast: 20) { try await drill.run(through: 11) }
            try await people.check(at: cluster.apiURL)
            #expect(await cluster["producer"]?.stop() == 0)
        }
        try await drill.run(through: 12)
        let said = drill.output
        #expect(said.contains("restored: ") && said.contains("kept: acknowledged") && said.contains("drill complete"))
    }
}

/// The blocks of the page, run in one shell as it demands.
private final class Drill: Sendable {
    private let folder: URL
    private let shell = Process()
    private let input = Pipe()
    private let log: URL
    /// The commands of each step.
    private let steps: [String]
    private let next = Mutex((step: 0, marks: 0))
    private let port: Int

    init() throws {
        let page = try String(
            contentsOf: URL(filePath: #filePath).deletingLastPathComponent().appending(
                path: "../../docs/scaling.md"), encoding: .utf8)
        let section = try #require(page.range(of: "\n## Backup, restore and failover: a drill\n"))
        let parts = page[section.upperBound...].split(separator: /\n### Step (?<number>[0-9]+):/)
        steps = parts.dropFirst().map { part in
            part.matches(of: /```sh\n(?<block>(?:.|\n)*?)```/).map { String($0.block) }.joined()
        }
        #expect(steps.count == 12 && steps.allSatisfy { !$0.isEmpty })
        folder = try PostgresServer.temporaryFolder()
        log = folder.appending(path: "log")
        port = try PostgresServer.freePorts(3)
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        let binaries = try #require(PostgresServer.binaries)
        let path = folder.path
        try PostgresServer.prepare(shell, ["bash"])
        shell.environment = [
            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "PGBIN": binaries.path,
            "PGDATA": "\(path)/primary", "STANDBY": "\(path)/standby", "RESTORED": "\(path)/restored",
            "BACKUP": "\(path)/backup", "SOCKETS": path, "PORT": "\(port)",
        ]
        shell.currentDirectoryURL = folder
        shell.standardInput = input
        let handle = try FileHandle(forWritingTo: log)
        (shell.standardOutput, shell.standardError) = (handle, handle)
        try shell.run()
        // The servers are not our children: they end with the shell, which ends with its input.
        send(
            """
            set -euo pipefail
            trap 'for d in "$PGDATA" "$STANDBY" "$RESTORED"; do "$PGBIN/pg_ctl" -D "$d" -s -m immediate stop; done 2>/dev/null' EXIT

            """)
    }

    deinit {
        try? input.fileHandleForWriting.close()
        shell.waitUntilExit()
        try? FileManager.default.removeItem(at: folder)
    }

    var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

    /// How a store reaches the drill's servers: 0 is the primary, 1 the restored copy, 2 the standby.
    func url(ports: [Int]) -> String {
        let hosts = ports.map { _ in folder.path }.joined(separator: ",")
        return "postgresql://postgres@/beckon?host=\(hosts)&port="
            + ports.map { "\(port + $0)" }.joined(separator: ",") + "&target_session_attrs=read-write"
    }

    /// Runs the blocks that were not run yet, to that of this step.
    func run(through last: Int) async throws {
        while let step = next.withLock({ next -> Int? in
            guard next.step < last else { return nil }
            defer { next.step += 1 }
            return next.step
        }) { try await run(steps[step]) }
    }

    /// Runs commands in the same shell.
    /// - Throws: when one fails, with what was printed.
    func run(_ commands: String) async throws {
        let mark = next.withLock { next in
            next.marks += 1
            return "mark \(next.marks) of the test"
        }
        send(commands + "\necho '\(mark)'\n")
        while !output.contains(mark) {
            guard shell.isRunning else { throw BeckonProcess.Failure(description: "\(commands)\n\(output)") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func send(_ text: String) { try? input.fileHandleForWriting.write(contentsOf: Data(text.utf8)) }
}

/// A backend that asks, a phone that approves every other challenge, and what both were told.
private final class People: Sendable {
    private static let identity = "person-of-the-drill"
    private let cluster: BeckonCluster
    private let service: String
    private let device: Device
    private let told = Mutex<[(sid: String, isApproved: Bool)]>([])

    init(_ cluster: BeckonCluster) async throws {
        self.cluster = cluster
        service = try await cluster.backend.createService(friendlyName: "bank")
        let devices = DeviceClient(apiURL: cluster.apiURL, transport: HTTPClientTransport(cluster.client))
        let token = try await cluster.backend.createAccessToken(serviceSID: service, identity: Self.identity)
        device = try await devices.register(
            accessToken: token,
            enrolment: Enrolment(
                serviceSID: service, identity: Self.identity, friendlyName: "phone", appID: "dev.beckon.phone",
                platform: .none, pushToken: nil), signer: SoftwareKey())
        try await device.verify()
    }

    /// Goes on all the time while `body` runs, and until so many more challenges were acknowledged after it.
    func during(atLeast count: Int, _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { [self] in while !Task.isCancelled { await ask() } }
            try await body()
            let before = told.withLock { $0.count }
            while told.withLock({ $0.count }) < before + count { try await Task.sleep(for: .milliseconds(20)) }
            tasks.cancelAll()
        }
    }

    /// A refusal, or no answer, is no promise.
    private func ask() async {
        var draft = ChallengeDraft(message: "Still there?")
        draft.factorSID = device.registration.factorSID
        let made = try? await cluster.backend.createChallenge(
            serviceSID: service, identity: Self.identity, draft)
        guard let made else {
            try? await Task.sleep(for: .milliseconds(50))
            return
        }
        let index = told.withLock { told in
            told.append((made.sid, false))
            return told.count - 1
        }
        guard index % 2 == 0, let challenge = try? await device.challenge(made.sid),
            let answered = try? await device.answer(challenge, approved: true), answered.status == .approved
        else { return }
        told.withLock { $0[index].isApproved = true }
    }

    /// Everything that was told is so.
    func check(at apiURL: String) async throws {
        let backend = cluster.backend(at: apiURL)
        let told = told.withLock { $0 }
        #expect(told.contains { $0.isApproved })
        for (sid, isApproved) in told {
            let now = try await backend.challenge(serviceSID: service, identity: Self.identity, sid: sid)
            if isApproved { #expect(now.status == "approved", "\(sid)") }
        }
    }

    func forget() { told.withLock { $0 = [] } }
}
