import ChallengeModel
import Foundation
import HTTPEdge
import ServiceSupport
import Testing
import Wire

@testable import Producer

@Suite("Connections by RFC 9110 and 9112", .timeLimit(.minutes(5)))
struct ConnectionRuleTests {
    private static func port(_ producer: ProducerHarness) throws -> Int {
        try #require(URL(string: producer.base)?.port)
    }

    private static func post(_ producer: ProducerHarness, length: Int, more: String = "") -> String {
        "POST /v2/Services HTTP/1.1\r\nHost: a\r\nAuthorization: \(producer.backend.header)\r\n"
            + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: \(length)\r\n\(more)\r\n"
    }

    @Test("who waits for 100 Continue gets it, then the reply; a refusal comes at once and ends the connection")
    func expectation() async throws {
        try await ProducerHarness.run { producer in
            let port = try Self.port(producer)
            let waiting = try await RawConnection(port: port)
            try await waiting.send(Self.post(producer, length: 19, more: "Expect: 100-continue\r\n"))
            try await waiting.reads("HTTP/1.1 100 Continue\r\n\r\n")
            try await waiting.send("FriendlyName=Expect")
            try await waiting.reads("HTTP/1.1 201 Created")
            #expect(!waiting.isEnded)
            let large = try await RawConnection(port: port)
            try await large.send(Self.post(producer, length: 70_000, more: "Expect: 100-continue\r\n"))
            let refusal = try await large.whole()
            #expect(refusal.hasPrefix("HTTP/1.1 413 ") && refusal.lowercased().contains("connection: close"))
            let nowhere = try await RawConnection(port: port)
            try await nowhere.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
            #expect(try await nowhere.whole().hasPrefix("HTTP/1.1 404 "))
        }
    }

    @Test(
        "a body that stands still or trickles is answered 408, and counted",
        arguments: [(19, "Fri"), (19, ""), (30_000, "a=" + String(repeating: "x", count: 19_998))])
    func stalled(length: Int, part: String) async throws {
        try await ProducerHarness.run(adjust: { $0.http.edge.bodyDeadline = .milliseconds(300) }) { producer in
            let connection = try await RawConnection(port: try Self.port(producer))
            try await connection.send(Self.post(producer, length: length) + part)
            let reply = try await connection.whole()
            #expect(reply.hasPrefix("HTTP/1.1 408 ") && reply.contains("\"code\":20408"), "\(reply)")
            #expect(reply.lowercased().contains("connection: close"))
            #expect(
                producer.metrics.count(
                    .requests, [("route", "/v2/Services"), ("method", "POST"), ("class", "4xx")]) == 1)
        }
    }

    @Test(
        "a 413 ends the connection, also while the client goes on sending; what comes behind is not taken for a request"
    )
    func tooLarge() async throws {
        try await ProducerHarness.run { producer in
            let connection = try await RawConnection(port: try Self.port(producer))
            try await connection.send(Self.post(producer, length: 70_000))
            try await connection.reads("HTTP/1.1 413 ")
            try? await connection.send(
                String(repeating: "a", count: 70_000) + "GET /v2/Services HTTP/1.1\r\nHost: a\r\n\r\n")
            let reply = try await connection.whole()
            #expect(reply.components(separatedBy: "HTTP/1.1 ").count == 2, "one reply: \(reply)")
        }
    }

    @Test(
        "HTTP/1.0 and Connection: close end the connection behind the reply, and say so",
        arguments: [
            "GET /v2/Services HTTP/1.0\r\n\r\n", "GET /v2/Services HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a\r\nConnection: TE, close\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a\r\n\r\nGET /v2/Services HTTP/1.0\r\n\r\nGET /no HTTP/1.1\r\nHost: a\r\n\r\n",
        ])
    func ends(request: String) async throws {
        try await ProducerHarness.run { producer in
            let connection = try await RawConnection(port: try Self.port(producer))
            try await connection.send(request)
            let reply = try await connection.whole()
            let replies = reply.components(separatedBy: "HTTP/1.1 401 ").count - 1
            #expect(replies == request.components(separatedBy: "/v2/Services").count - 1, "\(reply)")
            #expect(reply.lowercased().components(separatedBy: "connection: close").count == 2, "the last one only")
        }
    }

    @Test(
        "a request without exactly one good Host is 400, and counted as every refusal of the parser is",
        arguments: [
            "GET /v2/Services HTTP/1.1\r\n\r\n", "GET /v2/Services HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET /v2/Services HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a\r\nX: a\u{1}b\r\n\r\n",
            "GET /v2/Services HTTP/1.1\r\nHost: a\r\nX: a\u{7F}b\r\n\r\n",
            "GET /v2/\u{7F} HTTP/1.1\r\nHost: a\r\n\r\n", "HELO a\r\n\r\n",
            "POST /v2/Services HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ])
    func hosts(request: String) async throws {
        try await ProducerHarness.run { producer in
            let connection = try await RawConnection(port: try Self.port(producer))
            try await connection.send(request)
            let reply = try await connection.whole()
            #expect(reply.hasPrefix("HTTP/1.1 400 ") && reply.contains("\"code\":20400"), "\(reply)")
            #expect(
                producer.metrics.count(.requests, [("route", "none"), ("method", "other"), ("class", "4xx")]) == 1)
        }
    }

    @Test("HEAD answers as GET without the content; a device that asks by HEAD gives no receipt")
    func head() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let get = try await producer.get(service, as: producer.backend)
            let head = try await producer.send("HEAD", service, as: producer.backend)
            #expect(head.status == 200 && head.bytes.isEmpty)
            #expect(head.header("Content-Length") == "\(get.bytes.count)")
            #expect(try await producer.send("HEAD", service).status == 401)
            #expect(try await producer.send("HEAD", "/nowhere").status == 404)
            let phone = try await producer.enroll("user-0001", service: service)
            var paths: [String] = []
            for _ in 0..<2 {
                let challenge = try await producer.createChallenge(service, "user-0001", [("Fallback", "sms")])
                paths.append("\(phone.challengesPath)/\(try challenge.text("sid"))")
            }
            let seen = try await producer.send("HEAD", paths[0], as: phone.token(nowMs: producer.clock.nowMs))
            #expect(seen.status == 200 && seen.bytes.isEmpty)
            @Sendable func isReceived(_ path: String) async throws -> Bool {
                try await producer.get(path, as: producer.backend).json()["beckon"]?["delivery"]?.stringValue
                    == "received"
            }
            // Receipts come back over Kafka: the second challenge's, which was asked for later, shows that the first
            // has none.
            _ = try await producer.get(paths[1], as: phone.token(nowMs: producer.clock.nowMs))
            try await becomesTrue("the challenge that was read is received") { [paths] in
                try await isReceived(paths[1])
            }
            #expect(try await !isReceived(paths[0]))
        }
    }

    @Test("OPTIONS says what a resource has, without credentials and without CORS")
    func options() async throws {
        try await ProducerHarness.run { producer in
            let services = try await producer.send("OPTIONS", "/v2/Services")
            #expect(services.status == 204)
            #expect(services.header("Allow") == "GET, HEAD, POST, OPTIONS")
            #expect(try await producer.send("OPTIONS", "/nowhere").status == 404)
            let connection = try await RawConnection(port: try Self.port(producer))
            try await connection.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            let all = try await connection.whole()
            #expect(all.hasPrefix("HTTP/1.1 204 ") && all.contains("GET, HEAD, POST, DELETE, OPTIONS"), "\(all)")
        }
    }

    @Test(
        "a packed body is 415 that names Content-Encoding; identity is none",
        arguments: ["gzip", "br", "GZIP, identity"])
    func packed(encoding: String) async throws {
        try await ProducerHarness.run { producer in
            let answer = try await producer.send(
                "POST", "/v2/Services", body: "FriendlyName=a", as: producer.backend,
                headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", encoding)])
            #expect(answer.status == 415)
            #expect(try answer.code() == 20415)
            #expect(try answer.text("message").contains("Content-Encoding"))
            #expect(answer.header("Accept-Encoding") == "identity")
            let plain = try await producer.send(
                "POST", "/v2/Services", body: "FriendlyName=a", as: producer.backend,
                headers: [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", "identity")])
            #expect(plain.status == 201)
        }
    }

    @Test("at the bound the longest idle connection goes for a new one, and one address leaves room for others")
    func bounds() async throws {
        try await ProducerHarness.run(adjust: {
            $0.http.edge.maxConnections = 40
            $0.http.edge.maxConnectionsPerAddress = 10
            $0.http.edge.headDeadline = .seconds(110)
            $0.http.edge.idleTimeout = .seconds(110)
        }) { producer in
            let port = try Self.port(producer)
            let other = try await RawConnection(port: port, from: "127.0.0.2")
            try await other.send("GET /v2/Services HTTP/1.1\r\nHost: a\r\n\r\n")
            try await other.reads("HTTP/1.1 401 ")
            var flood: [RawConnection] = []
            for _ in 0..<30 { flood.append(try await RawConnection(port: port, from: "127.0.0.3")) }
            // Which of them: they are taken by several event loops, in no order.
            try await becomesTrue("all but ten of the flood are closed") { [flood] in
                flood.count { $0.isEnded } == 20
            }
            #expect(!other.isEnded)
            for index in 4..<8 {
                for _ in 0..<10 { flood.append(try await RawConnection(port: port, from: "127.0.0.\(index)")) }
            }
            try await becomesTrue("the listener keeps its bound") { [flood] in flood.count { !$0.isEnded } <= 40 }
            #expect(other.isEnded, "it was idle longest")
            let late = try await RawConnection(port: port, from: "127.0.0.9")
            try await late.send("GET /v2/Services HTTP/1.1\r\nHost: a\r\n\r\n")
            try await late.reads("HTTP/1.1 401 ")
            for (name, count) in [("room", 12), ("client", 20)] {
                let labels = [("listener", "api"), ("reason", name)]
                #expect(producer.metrics.count(EdgeMetricName.closedEarly.rawValue, labels) == Int64(count), "\(name)")
            }
            #expect(producer.metrics.measured(EdgeMetricName.limit.rawValue, [("listener", "api")]) == 40)
        }
    }

    @Test("when every connection has a request under way new ones are refused, readiness says so, and it passes")
    func saturated() async throws {
        try await ProducerHarness.run(adjust: {
            $0.http.edge.maxConnections = 16
            $0.http.edge.maxConnectionsPerAddress = 8
            $0.http.edge.bodyDeadline = .seconds(110)
        }) { producer in
            let port = try Self.port(producer)
            var busy: [RawConnection] = []
            for index in 0..<16 {
                let connection = try await RawConnection(port: port, from: "127.0.0.\(2 + index / 8)")
                try await connection.send(Self.post(producer, length: 100, more: "Expect: 100-continue\r\n"))
                // Until its request was read a connection is idle, and may be closed for another one.
                try await connection.reads("100 Continue")
                try await connection.send("Friend")
                busy.append(connection)
            }
            try await becomesTrue("a connection is refused") {
                let one = try await RawConnection(port: port, from: "127.0.0.9")
                try? await Task.sleep(for: .milliseconds(50))
                return one.isEnded
                    && producer.metrics.count(
                        EdgeMetricName.refused.rawValue, [("listener", "api"), ("reason", "full")]) > 0
            }
            #expect(producer.readiness.reasons["http-connections"]?.contains("api.maxConnections") == true)
            for connection in busy {
                try await connection.send(String(repeating: "x", count: 94))
                try await connection.reads("HTTP/1.1 400 ")
            }
            try await becomesTrue("it is over") { producer.readiness.reasons["http-connections"] == nil }
        }
    }

    @Test("behind a trusted proxy a client's requests under way are bounded, and others are served")
    func proxied() async throws {
        let proxies = try #require(TrustedProxies(parsing: "127.0.0.1"))
        try await ProducerHarness.run(adjust: {
            $0.trustedProxies = proxies
            $0.http.edge.maxConnectionsPerAddress = 2
        }) { producer in
            let port = try Self.port(producer)
            var held: [RawConnection] = []
            for _ in 0..<2 {
                let connection = try await RawConnection(port: port)
                try await connection.send(
                    Self.post(producer, length: 100, more: "X-Forwarded-For: 192.0.2.1\r\nExpect: 100-continue\r\n"))
                try await connection.reads("100 Continue")
                held.append(connection)
            }
            let more = try await RawConnection(port: port)
            try await more.send("GET /v2/Services HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
            let refusal = try await more.whole()
            #expect(refusal.hasPrefix("HTTP/1.1 429 ") && refusal.contains("Retry-After: 1"), "\(refusal)")
            let other = try await RawConnection(port: port)
            try await other.send(
                "GET /v2/Services HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n\r\n")
            try await other.reads("HTTP/1.1 401 ")
            for connection in held { try await connection.close() }
        }
    }

    @Test("Date is at most a second old, also when replies follow each other at once")
    func date() async throws {
        try await ProducerHarness.run { producer in
            let format = DateFormatter()
            format.locale = Locale(identifier: "en_US_POSIX")
            format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
            format.timeZone = TimeZone(identifier: "GMT")
            for _ in 0..<12 {
                // Not `time`: it is a tick behind the clock that the server reads.
                let before = Int(Date().timeIntervalSince1970)
                let text = try #require(try await producer.get("/v2/Services").header("Date"))
                let date = try #require(format.date(from: text))
                let after = Int(Date().timeIntervalSince1970)
                #expect((before...after).contains(Int(date.timeIntervalSince1970)), "\(text)")
                try await Task.sleep(for: .milliseconds(150))
            }
        }
    }
}
