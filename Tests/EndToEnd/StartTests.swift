import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import ServiceSupport
import TestSupport
import Testing
import Wire

/// How a role's process starts that cannot, and what SIGHUP does to one that runs.
@Suite("Starting and hanging up", .timeLimit(.minutes(10)))
struct StartTests {
    /// A port that is taken for as long as this lives.
    private final class Taken {
        let port: UInt16
        private let descriptor: Int32

        init() throws {
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let descriptor = descriptor
            let failed = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, size) != 0 || listen(descriptor, 1) != 0
                        || getsockname(descriptor, $0, &size) != 0
                }
            }
            port = UInt16(bigEndian: address.sin_port)
            if failed {
                close(descriptor)
                throw BeckonProcess.Failure(description: "no port to listen on")
            }
        }

        deinit { close(descriptor) }
    }

    /// What the role needs beside its admin port; Kafka is nowhere.
    private func environment(_ folder: URL) -> [String: String] {
        let key = "k1:" + Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString()
        return [
            "BECKON_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "BECKON_RECORD_KEYS": key, "BECKON_STORE_KEYS": key,
            "BECKON_CONFIGURATION_KEYS": key, "BECKON_STORE_PATH": folder.appending(path: "s.sqlite").path,
            "BECKON_API_PORT": "0", "BECKON_PHONE_API": "http://127.0.0.1:1",
            "BECKON_PHONE_SIMULATOR": "http://127.0.0.1:1", "BECKON_PHONE_AUTH_TOKEN": "t",
            "BECKON_PHONE_ACCOUNT": "AC00000000000000000000000000000000",
        ]
    }

    private func withFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }

    /// Ends with one line on standard error, and status 1.
    private func refusal(_ role: Role, _ arguments: [String], _ folder: URL) async throws -> String {
        let failure = await #expect(throws: BeckonProcess.Failure.self, "\(role) \(arguments)") {
            _ = try await BeckonProcess.output(of: [role.rawValue] + arguments, environment: environment(folder))
        }
        let lines = (failure?.description ?? "").split(separator: "\n")
        #expect(lines.first?.contains("ended with 1:") == true, "\(lines)")
        #expect(lines.count == 2, "\(lines)")
        return String(lines.last ?? "")
    }

    @Test("an address that cannot be had ends every role at once, with one line and status 1", arguments: Role.allCases)
    func addresses(_ role: Role) async throws {
        try await withFolder { folder in
            let taken = try Taken()
            let inUse = try await refusal(role, ["--admin-port", "\(taken.port)"], folder)
            #expect(
                inUse == "Error: admin port 127.0.0.1:\(taken.port) cannot be opened: the port is in use; "
                    + "set --admin-port to another, 0 for any free one")
            // TEST-NET-3 (RFC 5737): no machine's.
            let elsewhere = try await refusal(role, ["--admin-host", "203.0.113.9", "--admin-port", "0"], folder)
            #expect(elsewhere.contains("no interface of this machine has this address; set --admin-host"))
            let nowhere = try await refusal(
                role, ["--admin-host", "no.such.host.invalid", "--admin-port", "0"], folder)
            #expect(nowhere.contains("admin port no.such.host.invalid:0 cannot be opened"))
            #expect(!FileManager.default.fileExists(atPath: folder.appending(path: "s.sqlite").path))
            withExtendedLifetime(taken) {}
        }
    }

    @Test("the same for the addresses of the API and the look-alikes")
    func otherAddresses() async throws {
        try await withFolder { folder in
            let taken = try Taken()
            let ways: [(Role, String)] = [
                (.producer, "--api-port"), (.producer, "--device-api-port"), (.simulator, "--simulator-apns-port"),
                (.simulator, "--simulator-control-port"),
            ]
            for (role, flag) in ways {
                let line = try await refusal(role, ["--admin-port", "0", flag, "\(taken.port)"], folder)
                #expect(line.contains("the port is in use; set \(flag)"), "\(line)")
            }
            withExtendedLifetime(taken) {}
        }
    }

    @Test("a misspelt variable and a misspelt flag end a role with one line that has the right name")
    func misspelt() async throws {
        try await withFolder { folder in
            let line = try await refusal(.broker, ["--admin-prot", "0"], folder)
            #expect(line.contains("did you mean --admin-port?"), "\(line)")
            let failure = await #expect(throws: BeckonProcess.Failure.self) {
                _ = try await BeckonProcess.output(
                    of: ["broker", "--admin-port", "0"], environment: ["BECKON_TOPIC_PREFIX": "x."])
            }
            #expect(failure?.description.contains("did you mean BECKON_TOPICS_PREFIX?") == true)
        }
    }

    @Test("`beckon ready` tells an unready role (1, with its checks) from one that does not answer (3)")
    func ready() async throws {
        try await withFolder { folder in
            let port = "\(try BeckonCluster.freePort())"
            let executable = BeckonProcess.executable.path
            let nobody = try await ToolRun.of(executable, ["ready", "--port", port])
            #expect(nobody.status == 3, "\(nobody.output)")
            let role = try BeckonProcess(
                "ack-tracker", ["ack-tracker", "--admin-port", port], environment: environment(folder), folder: folder)
            var answer = nobody
            while answer.status == 3, role.isRunning {
                answer = try await ToolRun.of(executable, ["ready", "--port", port])
            }
            #expect(answer.status == 1 && answer.output.contains("tracker-topics: "), "\(answer.output)\(role.tail)")
            await role.stop()
        }
    }

    @Test("SIGHUP ends no role: it goes on, says what was read again, and SIGTERM ends it well")
    func hangUp() async throws {
        try await withFolder { folder in
            let broker = try BeckonProcess("broker", ["broker", "--admin-port", "0"], folder: folder)
            _ = try await broker.ready()
            for time in 1...3 {
                kill(broker.identifier, SIGHUP)
                while broker.output.components(separatedBy: "SIGHUP").count - 1 < time {
                    #expect(broker.isRunning)
                    guard broker.isRunning else { return }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            #expect(await broker.stop() == 0)
        }
    }

    @Test("the log level is changed on the admin port, and SIGHUP reads that of the file; every line is a JSON object")
    func logLevel() async throws {
        try await withFolder { folder in
            let file = folder.appending(path: "beckon.yaml")
            func write(_ level: String) throws {
                try "log:\n  level: \(level)\n  format: json\n".write(to: file, atomically: true, encoding: .utf8)
            }
            try write("info")
            let broker = try BeckonProcess(
                "broker", ["broker", "--admin-port", "0", "--config", file.path], folder: folder)
            let url = try await broker.ready()["admin", default: ""] + "/log/level"
            func ask(_ method: HTTPMethod, _ url: String) async throws -> String {
                var request = HTTPClientRequest(url: url)
                request.method = method
                let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
                return String(buffer: try await response.body.collect(upTo: 1 << 20))
            }
            #expect(try await ask(.POST, url + "/error") == #"{"level":"error","configured":"info"}"# + "\n")
            try write("debug")
            kill(broker.identifier, SIGHUP)
            let end = ContinuousClock.now + .seconds(60)
            while try await ask(.GET, url) != #"{"level":"debug","configured":"debug"}"# + "\n" {
                guard ContinuousClock.now < end else {
                    Issue.record("the level is \(try await ask(.GET, url))")
                    break
                }
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(await broker.stop() == 0)
            let lines = broker.output.split(separator: "\n")
            for line in lines {
                #expect((try? JSONParser.parse(String(line), .reply))?["message"]?.stringValue != nil, "\(line)")
            }
            #expect(lines.contains { $0.contains("the log level was changed") })
        }
    }
}
