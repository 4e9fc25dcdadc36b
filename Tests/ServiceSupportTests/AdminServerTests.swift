import AsyncHTTPClient
import CoreMetrics
import Logging
import Metrics
import NIOCore
import NIOHTTP1
import ServiceSupport
import Testing

@Suite("The admin port", .timeLimit(.minutes(5)))
struct AdminServerTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("alive at once, ready when every check has passed, with reasons until then")
    func probes() async throws {
        let readiness = Readiness(pending: ["kafka", "store"])
        let metrics = PrometheusRegistry()
        Counter(label: "beckon_test_total", factory: metrics).increment()
        let server = AdminServer(host: "127.0.0.1", port: 0, readiness: readiness, metrics: metrics, logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group async throws in
            group.addTask { try await server.run() }
            let base = "http://127.0.0.1:\(try await server.boundPort())"
            #expect(try await get(base + "/livez") == "200 ok\n")
            #expect(try await get(base + "/readyz") == "503 kafka: starting\nstore: starting\n")
            readiness.pass("store")
            readiness.fail("kafka", "no broker answers")
            #expect(try await get(base + "/readyz") == "503 kafka: no broker answers\n")
            #expect(try await get(base + "/servez") == "503 kafka: no broker answers\n")
            readiness.pass("kafka")
            #expect(try await get(base + "/readyz") == "200 ready\n")
            // A fault of what all processes share takes the requests away from none of them.
            readiness.fail("outbox", "nothing is acknowledged")
            #expect(try await get(base + "/readyz") == "503 outbox: nothing is acknowledged\n")
            #expect(try await get(base + "/servez") == "200 ready\n")
            #expect(try await get(base + "/metrics").contains("beckon_test_total 1\n"))
            group.cancelAll()
        }
    }

    @Test("a port in use says which flag to set")
    func inUse() async throws {
        let first = AdminServer(
            host: "127.0.0.1", port: 0, readiness: Readiness(), metrics: PrometheusRegistry(), logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group async throws in
            group.addTask { try await first.run() }
            let second = AdminServer(
                host: "127.0.0.1", port: try await first.boundPort(), readiness: Readiness(),
                metrics: PrometheusRegistry(),
                logger: logger)
            let error = await #expect(throws: StartError.self) { try await second.run() }
            #expect(error?.description.contains("--admin-port") == true)
            group.cancelAll()
        }
    }

    @Test("the log level is changed by POST, for those who show the token and are no web page")
    func logLevel() async throws {
        let level = LogLevel(.info)
        let server = AdminServer(
            host: "127.0.0.1", port: 0, readiness: Readiness(), metrics: PrometheusRegistry(), logger: logger,
            token: "0123456789abcdef", level: level)
        try await withThrowingTaskGroup(of: Void.self) { group async throws in
            group.addTask { try await server.run() }
            let url = "http://127.0.0.1:\(try await server.boundPort())/log/level"
            let token = ("Authorization", "Bearer 0123456789abcdef")
            #expect(try await send("POST", url + "/debug").hasPrefix("401 ") && level.current == .info)
            #expect(try await send("POST", url + "/debug", token, ("Origin", "https://x.example")).hasPrefix("403 "))
            #expect(try await send("GET", url + "/debug", token).hasPrefix("404 ") && level.current == .info)
            let changed = #"200 {"level":"debug","configured":"info"}"# + "\n"
            #expect(try await send("POST", url + "/debug", token) == changed)
            #expect(level.current == .debug)
            #expect(try await send("GET", url, token) == changed)
            #expect(try await send("POST", url + "/loud", token).hasPrefix("400 ") && level.current == .debug)
            group.cancelAll()
        }
    }

    private func send(_ method: String, _ url: String, _ headers: (String, String)...) async throws -> String {
        var request = HTTPClientRequest(url: url)
        request.method = HTTPMethod(rawValue: method)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        return "\(response.status.code) \(String(buffer: try await response.body.collect(upTo: 1 << 20)))"
    }

    func get(_ url: String) async throws -> String {
        let response = try await HTTPClient.shared.execute(HTTPClientRequest(url: url), timeout: .seconds(60))
        let body = try await response.body.collect(upTo: 1 << 20)
        return "\(response.status.code) \(String(buffer: body))"
    }
}
