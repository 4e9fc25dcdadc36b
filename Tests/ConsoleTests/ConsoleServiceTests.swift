import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import ServiceLifecycle
import ServiceSupport
import Synchronization
import Testing

@testable import Console

/// The console over real connections.
@Suite("The console's pages", .timeLimit(.minutes(2)))
struct ConsoleServiceTests {
    private static let operatorToken = "operator-operator-operator"
    private static let viewerToken = "viewer-viewer-viewer-viewer"

    private struct World {
        let url: String
        let client: HTTPClient

        func send(
            _ method: HTTPMethod = .GET, _ path: String = "/", _ headers: [(String, String)] = [], body: String? = nil
        ) async throws -> (status: UInt, headers: HTTPHeaders, text: String) {
            var request = HTTPClientRequest(url: url + path)
            request.method = method
            request.headers = HTTPHeaders(headers)
            if let body {
                request.body = .bytes(ByteBuffer(string: body))
                request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
            }
            let reply = try await client.execute(request, timeout: .seconds(30))
            let content = try await reply.body.collect(upTo: 1 << 20)
            return (reply.status.code, reply.headers, String(buffer: content))
        }
    }

    /// A console that reads a target of its own tests.
    private func withConsole(
        _ access: ConsoleAccess, targets: [String] = [], desk: PhoneDesk? = nil, box: DeadLetterBox? = nil,
        api: String? = nil, _ body: (World) async throws -> Void
    ) async throws {
        var settings = HTTPClient.Configuration()
        settings.redirectConfiguration = .disallow
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
        var quiet = Logger(label: "test")
        quiet.logLevel = .critical
        var configuration = ConsoleConfiguration(host: "127.0.0.1", port: 0, access: access, targets: targets)
        configuration.api = api.map { ($0, "SK1", "secret") }
        let service = try ConsoleService(
            configuration, client: client, readiness: Readiness(), metrics: PrometheusRegistry([]), logger: quiet,
            phones: desk, deadLetters: box)
        let result: Result<Void, any Error>
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await service.run() }
                try await body(World(url: try await service.url(), client: client))
                group.cancelAll()
                while (try? await group.next()) != nil {}
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try await client.shutdown()
        try result.get()
    }

    private func tokens() throws -> ConsoleAccess {
        .tokens(try ConsoleTokens(operatorToken: Self.operatorToken, viewerToken: Self.viewerToken))
    }

    @Test("every reply forbids scripts, styles and frames of others, tells no referrer, and is not kept")
    func headers() async throws {
        try await withConsole(.development) { console in
            for (path, status) in [("/", 200 as UInt), ("/nowhere", 404)] {
                let reply = try await console.send(.GET, path)
                #expect(reply.status == status)
                let policies = reply.headers["Content-Security-Policy"]
                #expect(policies.count == 1)
                for rule in ["default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
                    #expect(policies.first?.contains(rule) == true)
                }
                #expect(policies.first?.contains("unsafe") == false)
                #expect(reply.headers["Referrer-Policy"] == ["no-referrer"])
                #expect(reply.headers["X-Content-Type-Options"] == ["nosniff"])
                #expect(reply.headers["Cache-Control"] == ["no-store"])
            }
            let style = try await console.send(.GET, Asset.style.path)
            #expect(style.status == 200 && style.headers["Content-Type"] == ["text/css; charset=utf-8"])
        }
    }

    @Test(
        "nobody sees a page without a token; the form gives a cookie that does, and the cookie of a viewer may not act")
    func signIn() async throws {
        let desk = PhoneDesk()
        try await withConsole(try tokens(), desk: desk) { console in
            let stranger = try await console.send()
            #expect(stranger.status == 401 && stranger.text.contains("name=\"token\""))
            #expect(!stranger.text.contains("Overview"), "no navigation before the sign-in")
            let site = [("Sec-Fetch-Site", "same-origin")]
            let wrong = try await console.send(.POST, "/sign-in", site, body: "token=wrong")
            #expect(wrong.status == 403 && wrong.headers["Set-Cookie"] == [])
            let right = try await console.send(.POST, "/sign-in", site, body: "token=\(Self.viewerToken)")
            #expect(right.status == 303)
            let cookie = try #require(right.headers["Set-Cookie"].first).prefix { $0 != ";" }
            let headers = site + [("Cookie", String(cookie))]
            let page = try await console.send(.GET, "/", headers)
            #expect(page.status == 200 && page.text.contains("viewer"))
            let act = try await console.send(.POST, "/faults/end", headers, body: "")
            #expect(act.status == 403 && act.text.contains("not act"))
            let acted = try await console.send(
                .POST, "/faults/end", [("Authorization", "Bearer \(Self.operatorToken)")], body: "")
            #expect(acted.status == 503, "an operator comes as far as the phones, which are not there yet")
            let out = try await console.send(.POST, "/sign-out", headers, body: "")
            #expect(out.headers["Set-Cookie"].first?.contains("Max-Age=0") == true)
        }
    }

    @Test("a request of another site is refused before anything else, whatever cookie it brings")
    func otherSites() async throws {
        try await withConsole(try tokens()) { console in
            let good = try await console.send(
                .POST, "/sign-in", [("Sec-Fetch-Site", "same-origin")], body: "token=\(Self.operatorToken)")
            let cookie = try #require(good.headers["Set-Cookie"].first).prefix { $0 != ";" }
            for headers in [[("Sec-Fetch-Site", "cross-site")], [("Origin", "https://evil.example")], []] {
                let reply = try await console.send(
                    .POST, "/sign-out", headers + [("Cookie", String(cookie))], body: "")
                #expect(reply.status == 403, "\(headers)")
                #expect(reply.headers["Set-Cookie"] == [])
            }
        }
    }

    @Test("without a sign-in, only the names of this machine are answered")
    func rebinding() async throws {
        try await withConsole(.development) { console in
            let foreign = try await console.send(.GET, "/", [("Host", "evil.example:8090")])
            #expect(foreign.status == 403)
            #expect(try await console.send(.GET, "/", [("Host", "localhost:1")]).status == 200)
        }
    }

    @Test("a method that a page does not have, a form that is too large, and one that cannot be read")
    func refused() async throws {
        try await withConsole(.development) { console in
            let put = try await console.send(.PUT, "/", [("Sec-Fetch-Site", "none")])
            #expect(put.status == 405 && put.headers["Allow"] == ["GET, HEAD"])
            let large = try await console.send(.POST, "/", [], body: String(repeating: "a", count: 70_000))
            #expect(large.status == 413)
            let broken = try await console.send(.POST, "/", [], body: "a=%zz")
            #expect(broken.status == 400)
        }
    }

    @Test("the live part alone has a tag, and is not sent again while it is the same")
    func fragments() async throws {
        try await withConsole(.development) { console in
            let accept = [("Accept", "text/html-fragment")]
            let first = try await console.send(.GET, "/", accept)
            #expect(first.status == 200 && !first.text.contains("<html"))
            let tag = try #require(first.headers["ETag"].first)
            let page = try await console.send()
            #expect(page.text.contains(Escaped(tag).html), "the page names the tag of its own part")
            let again = try await console.send(.GET, "/", accept + [("If-None-Match", tag)])
            #expect(again.status == 304 || again.headers["ETag"].first != tag)
        }
    }

    @Test("the overview shows what the roles' metrics say, and names a target that is away")
    func overview() async throws {
        let registry = PrometheusRegistry([])
        let admin = AdminServer(
            host: "127.0.0.1", port: 0, readiness: Readiness(), metrics: registry, logger: Logger(label: "test"))
        ProcessMetrics.observe(in: registry, role: "producer", version: "9.9", readiness: Readiness())
        let running = Task { try await admin.run() }
        let target = "http://127.0.0.1:\(try await admin.boundPort())/metrics"
        try await withConsole(.development, targets: [target, "http://127.0.0.1:1/metrics"]) { console in
            let deadline = ContinuousClock.now + .seconds(60)
            while true {
                let page = try await console.send().text
                if page.contains("1 of 2 answer"), page.contains("127.0.0.1:1/metrics does not answer") { break }
                try #require(ContinuousClock.now < deadline, "\(page)")
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        running.cancel()
        _ = await running.result
    }

    // MARK: - Dead letters

    /// What happened, in order.
    private final class Story: Sendable {
        private let lines = Mutex<[String]>([])
        var told: [String] { lines.withLock { $0 } }
        func tell(_ line: String) { lines.withLock { $0.append(line) } }
    }

    private func box(_ story: Story, isAudited: Bool = true) -> DeadLetterBox {
        DeadLetterBox(
            topics: ["challenges"],
            list: { filter in
                story.tell("list \(filter.topic ?? "-") \(filter.reason ?? "-") \(filter.key ?? "-")")
                let letters = (0..<25).map { number in
                    DeadLetterBox.Letter(
                        id: "0:\(number)", writtenAtMs: 1_764_000_000_000, topic: "challenges", reason: "mac",
                        detail: "<b>", key: "YC\(number)", byteCount: 10, refusal: number == 3 ? "expired" : nil)
                }
                return (letters, true)
            },
            audit: { act, subject, reader in
                guard isAudited else { throw CancellationError() }
                story.tell("audit \(act) by \(reader)")
            },
            replay: { ids, _ in
                story.tell("replay \(ids.joined(separator: " "))")
                return ids.map { ($0, $0 == "0:3" ? "the original record is past its time" : nil) }
            })
    }

    private static let asOperator = [("Authorization", "Bearer \(operatorToken)")]

    @Test("an operator replays marked records: first the audit trail, then the replay, then a page with its result")
    func replay() async throws {
        let story = Story()
        try await withConsole(try tokens(), box: box(story)) { console in
            let page = try await console.send(
                .GET, "/dead-letters?topic=challenges&reason=mac&key=%20", Self.asOperator)
            #expect(page.status == 200 && page.text.contains("refused: expired") && page.text.contains("&lt;b&gt;"))
            #expect(page.text.ranges(of: "type=\"checkbox\"").count == 24, "the expired one cannot be marked")
            let done = try await console.send(
                .POST, "/dead-letters/replays", Self.asOperator, body: "id=0%3A1&id=0%3A3&id=0%3A1")
            #expect(done.status == 303)
            #expect(
                story.told == [
                    "list challenges mac -", "audit dead-letters.replay by operator", "replay 0:1 0:3",
                ])
            let path = try #require(done.headers["Location"].first)
            let result = try await console.send(.GET, path, Self.asOperator)
            #expect(result.text.contains("1 of 2 records were written back") && result.text.contains("past its time"))
            let list = try await console.send(.GET, "/dead-letters", Self.asOperator)
            #expect(list.text.contains(path), "the replay is linked")
        }
    }

    // MARK: - The API

    @Test("events are sent again: the audit trail first, only by operators, and many only with their number")
    func sendAgain() async throws {
        let story = Story()
        let api = try await StubAPI { method, path, body in
            guard method == "POST" else { return "{}" }
            story.tell("\(method) \(path) \(body)")
            return #"{"events":1}"#
        }
        try await withConsole(try tokens(), box: box(story), api: api.url) { console in
            let path = "/webhooks/VA1/YW1/replays"
            let viewer = [("Authorization", "Bearer \(Self.viewerToken)")]
            #expect(try await console.send(.POST, path, viewer, body: "event=e1").status == 403)
            #expect(try await console.send(.POST, path, Self.asOperator, body: "").status == 400)
            let many = (0..<21).map { "event=e\($0)" }.joined(separator: "&")
            #expect(try await console.send(.POST, path, Self.asOperator, body: many).status == 400)
            #expect(story.told.isEmpty)
            let done = try await console.send(
                .POST, path, Self.asOperator + [("Accept", "text/html-fragment")], body: "event=e%2F1&event=e2")
            #expect(done.status == 200 && done.text.contains("2 events are sent again."), "\(done.text)")
            #expect(
                story.told == [
                    "audit webhooks.replay by operator", "POST /v2/Services/VA1/Webhooks/YW1/Replays EventId=e%2F1",
                    "POST /v2/Services/VA1/Webhooks/YW1/Replays EventId=e2",
                ])
        }
        try await withConsole(try tokens(), box: box(story, isAudited: false), api: api.url) { console in
            let refused = try await console.send(.POST, "/webhooks/VA1/YW1/replays", Self.asOperator, body: "event=e3")
            #expect(refused.status == 503 && refused.text.contains("nothing was sent"))
            #expect(!story.told.contains { $0.contains("e3") })
        }
        try await api.close()
    }

    @Test("the audit trail as a file has every page of the API, the filter, and no formula for a spreadsheet")
    func export() async throws {
        let api = try await StubAPI { _, path, _ in
            let isFirst = !path.contains("PageToken")
            let next = isFirst ? #""https://other.example\#(path)&PageToken=t""# : "null"
            return """
                {"audit_events":[{"date":"2026-01-02T03:04:05Z","action":"a","actor":"=1+1","subject":"\(
                    isFirst ? "one" : "two")","count":2,"detail":{"q":"a\\"b"}}],"meta":{"next_page_url":\(next)}}
                """
        }
        try await withConsole(.development, api: api.url) { console in
            let csv = try await console.send(.GET, "/audit/export?actor=%3D1%2B1&format=csv")
            #expect(csv.status == 200, "\(csv.text)")
            #expect(csv.headers["Content-Type"].first?.hasPrefix("text/csv") == true)
            #expect(csv.headers["Content-Disposition"] == ["attachment; filename=\"audit.csv\""])
            let lines = csv.text.split(separator: "\r\n")
            #expect(lines.count == 3)
            #expect(
                lines.last == #""2026-01-02T03:04:05Z","a","'=1+1","two","","2","","","","{""q"":""a\""b""}""#,
                "\(csv.text)")
            let json = try await console.send(.GET, "/audit/export?format=jsonl")
            #expect(json.text.split(separator: "\n").count == 2)
            #expect(try await console.send(.GET, "/audit/export?format=xls").status == 400)
            #expect(api.paths.first == "/v1/AuditEvents?Actor=%3D1%2B1&PageSize=1000")
            #expect(api.paths.dropFirst().first == "/v1/AuditEvents?Actor=%3D1%2B1&PageSize=1000&PageToken=t")
        }
        try await api.close()
    }

    @Test("a cell that a spreadsheet would take for a formula begins with an apostrophe")
    func cells() {
        for text in ["=1", "+1", "-1", "@a", "\ta", "\ra"] { #expect(AuditExport.cell(text) == "\"'\(text)\"") }
        #expect(AuditExport.cell("a=b \"c\"") == "\"a=b \"\"c\"\"\"")
    }

    @Test("exports at once are bounded, and a place is free again when its export is gone")
    func slots() {
        let slots = AuditExport.Slots()
        var taken = [slots.take(), slots.take()]
        #expect(taken.allSatisfy { $0 != nil } && slots.take() == nil)
        taken.removeLast()
        #expect(slots.take() != nil)
        withExtendedLifetime(taken) {}
    }

    @Test("a viewer may not replay, many need their number, and without an audit trail nothing is replayed")
    func replayRefused() async throws {
        let story = Story()
        try await withConsole(try tokens(), box: box(story, isAudited: false)) { console in
            let viewer = [("Authorization", "Bearer \(Self.viewerToken)")]
            let page = try await console.send(.GET, "/dead-letters", viewer)
            #expect(page.text.contains("Only operators may replay") && !page.text.contains("checkbox"))
            let path = "/dead-letters/replays"
            #expect(try await console.send(.POST, path, viewer, body: "id=0%3A1").status == 403)
            #expect(try await console.send(.POST, path, Self.asOperator, body: "").status == 400)
            let many = (0..<21).map { "id=0%3A\($0)" }.joined(separator: "&")
            #expect(try await console.send(.POST, path, Self.asOperator, body: many).status == 400)
            #expect(try await console.send(.POST, path, Self.asOperator, body: many + "&count=20").status == 400)
            let unaudited = try await console.send(.POST, path, Self.asOperator, body: many + "&count=21")
            #expect(unaudited.status == 503 && unaudited.text.contains("nothing was replayed"))
            #expect(try await console.send(.GET, path + "/ffff", viewer).status == 404)
        }
        #expect(story.told == ["list - - -"])
    }
}
