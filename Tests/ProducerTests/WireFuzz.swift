import Challenges
import Foundation
import HTTPEdge
import TestSupport
import Testing
import Wire

@testable import Producer

/// Random bytes on the wire: requests that are right, almost right and nonsense, several on one connection, in pieces,
/// with bodies in every framing, cut off anywhere. Short in the suite; `scripts/fuzz wire` runs it for 10 minutes.
@Suite("Random HTTP on the wire", .timeLimit(.minutes(30)))
struct WireFuzz {
    @Test("every reply is whole HTTP, none is 5xx but 503, nothing follows Connection: close, and the server goes on")
    func random() async throws {
        try await ProducerHarness.run(
            limits: .none,
            adjust: {
                $0.http.edge.headDeadline = .milliseconds(300)
                $0.http.edge.bodyDeadline = .milliseconds(300)
                $0.http.edge.idleTimeout = .milliseconds(300)
                $0.http.edge.maxConnections = 64
            }
        ) { producer in
            let port = try #require(URL(string: producer.base)?.port)
            let service = try await producer.makeService()
            try await FuzzRun.run("wire", rounds: 150) { generator, seed in
                var input = WireInput(generator: generator, service: service, authorization: producer.backend.header)
                let conversations = (0..<8).map { _ in input.conversation() }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for (index, conversation) in conversations.enumerated() {
                        group.addTask {
                            let reply = try await Self.hold(conversation, port: port, from: "127.0.0.\(2 + index)")
                            let problem = WireReplies.problem(in: reply)
                            #expect(
                                problem == nil,
                                """
                                BECKON_FUZZ_SEED=\(seed): \(problem ?? "")
                                sent \(Data(conversation.pieces.joined()).base64EncodedString())
                                got \(String(decoding: reply, as: UTF8.self))
                                """)
                        }
                    }
                    try await group.waitForAll()
                }
                // A pooled connection may have been closed as idle: then it is asked again.
                try await becomesTrue("BECKON_FUZZ_SEED=\(seed): the server goes on") {
                    (try? await producer.get("/v2/Services", as: producer.backend).status) == 200
                }
            }
        }
    }

    /// Sends the pieces and reads until the server closes, which a deadline makes sure of.
    private static func hold(
        _ conversation: WireInput.Conversation, port: Int, from source: String
    ) async throws -> [UInt8] {
        let connection = try await RawConnection(port: port, from: source)
        for piece in conversation.pieces {
            // A server that has refused may have closed.
            guard (try? await connection.send(piece)) != nil else { break }
            await Task.yield()
        }
        if conversation.hangsUp {
            try? await connection.close()
            return []
        }
        try await becomesTrue("the server closes") { connection.isEnded }
        return connection.bytes
    }
}

/// Makes what one client sends.
struct WireInput {
    struct Conversation: Sendable {
        var pieces: [[UInt8]]
        /// Closes without reading.
        var hangsUp: Bool
    }

    var generator: SeededGenerator
    let service: String
    let authorization: String

    mutating func conversation() -> Conversation {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...4, using: &generator) { bytes += request() }
        if generator.chance(4) { bytes = generator.broken(bytes) }
        var pieces: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let size = generator.chance(2) ? rest.count : Int.random(in: 1...rest.count, using: &generator)
            pieces.append(Array(rest.prefix(size)))
            rest = rest.dropFirst(size)
            if pieces.count == 6 {
                pieces.append(Array(rest))
                break
            }
        }
        return Conversation(pieces: pieces, hangsUp: generator.chance(10))
    }

    private mutating func request() -> [UInt8] {
        let method = generator.pick([
            "GET", "GET", "POST", "POST", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "CONNECT", "TRACE", "PRI", "get",
            "",
        ])
        let target = generator.pick([
            "/v2/Services", service, service + "?PageSize=1", "/", "*", "http://a/v2/Services", "//", "/%00", "/v2/%zz",
            "a:80",
            "/v2/Services#x", "/v2/\u{E9}", "/" + String(repeating: "a/", count: 200),
            "/v2/Services?" + String(repeating: "a=b&", count: 300),
        ])
        let version = generator.pick([
            "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "",
        ])
        let end = generator.chance(15) ? "\n" : "\r\n"
        var lines = ["\(method) \(target) \(version)"]
        switch Int.random(in: 0..<12, using: &generator) {
        case 0: break
        case 1: lines += ["Host: a", "Host: b"]
        case 2: lines.append("Host: a/../b")
        case 3: lines.append("Host:")
        default: lines.append("Host: localhost:80")
        }
        if generator.chance(2) { lines.append("Authorization: \(authorization)") }
        let body = generator.pick([
            "FriendlyName=fuzz", "", "FriendlyName=%00", "a=b&c=d", String(repeating: "x", count: 5000),
            String(repeating: "y", count: 70_000),
        ])
        var sent = ""
        if method == "POST" || generator.chance(8) {
            lines.append("Content-Type: application/x-www-form-urlencoded")
            (lines, sent) = framed(body, lines)
        }
        for _ in 0..<Int.random(in: 0...3, using: &generator) {
            lines.append(
                generator.pick([
                    "Expect: 100-continue", "Expect: 200-ok", "Connection: close", "Connection: keep-alive",
                    "Connection: Upgrade",
                    "Upgrade: h2c", "Upgrade: websocket", "X-Forwarded-For: 1.2.3.4", "Content-Encoding: gzip",
                    "X: \u{0}",
                    "X: a\u{1}", " folded: a", "X : a", ": a", "X", "If-None-Match: *", "Accept-Encoding: gzip",
                    "TE: trailers",
                    "X: " + String(repeating: "v", count: 40_000), "Origin: https://a.example",
                    "Idempotency-Key: \u{7F}",
                ]))
        }
        if generator.chance(12) { lines += (0..<120).map { "X-\($0): a" } }
        return Array((lines.joined(separator: end) + end + end + sent).utf8)
    }

    /// A body by its length, in chunks, by both, by wrong ones, or with none.
    private mutating func framed(_ body: String, _ lines: [String]) -> ([String], String) {
        let count = body.utf8.count
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: return (lines + ["Content-Length: \(count)", "Content-Length: \(count + 1)"], body)
        case 1: return (lines + ["Content-Length: \(count + 7)"], body)
        case 2:
            return (
                lines + [
                    "Content-Length: " + generator.pick(["-1", "+1", "0x5", "99999999999999999999", "", "1 1", "1,1"])
                ], body
            )
        case 3: return (lines + ["Transfer-Encoding: chunked", "Content-Length: \(count)"], chunked(body))
        case 4:
            return (
                lines + ["Transfer-Encoding: " + generator.pick(["gzip", "gzip, chunked", "chunked, chunked", "x"])],
                chunked(body)
            )
        case 5, 6: return (lines + ["Transfer-Encoding: chunked"], chunked(body))
        case 7: return (lines, body)
        default: return (lines + ["Content-Length: \(count)"], body)
        }
    }

    private mutating func chunked(_ body: String) -> String {
        var text = ""
        var rest = body[...]
        while !rest.isEmpty {
            let part = rest.prefix(Int.random(in: 1...max(1, rest.count), using: &generator))
            rest = rest.dropFirst(part.count)
            let size =
                generator.chance(20)
                ? generator.pick(["zz", "-1", "FFFFFFFFFFFFFFFFF", ""]) : String(part.utf8.count, radix: 16)
            text += "\(size)\(generator.chance(10) ? ";a=b" : "")\r\n\(part)\r\n"
        }
        return text + "0\r\n" + (generator.chance(8) ? "X-Trailer: a\r\n" : "") + "\r\n"
    }
}

/// Reads what came back, strictly.
enum WireReplies {
    /// Nil when it is whole replies and nothing else.
    static func problem(in bytes: [UInt8]) -> String? {
        var rest = bytes[...]
        var isLast = false
        while !rest.isEmpty {
            guard !isLast else { return "something behind Connection: close" }
            guard let end = rest.firstRange(of: Array("\r\n\r\n".utf8)) else { return "a head without its end" }
            let lines = String(decoding: rest[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
            rest = rest[end.upperBound...]
            guard let first = lines.first?.wholeMatch(of: #/HTTP/1\.1 (\d{3}) [ -~]*/#), let status = Int(first.1)
            else {
                return "no status line: \(lines.first ?? "")"
            }
            guard status < 500 || status == 503 else { return "status \(status)" }
            var length = 0
            for line in lines.dropFirst() {
                guard let field = line.wholeMatch(of: #/([!-9;-~]+): ?([ -~]*)/#) else { return "no header: \(line)" }
                switch (field.1.lowercased(), field.2.lowercased()) {
                case ("content-length", let text):
                    guard let value = Int(text) else { return "no length: \(text)" }
                    length = value
                case ("connection", "close"): isLast = true
                case ("transfer-encoding", _): return "chunks that nobody asked for"
                default: break
                }
            }
            if status == 100 {
                if isLast { return "an interim reply that closes" }
                continue
            }
            guard status >= 200 else { return "status \(status)" }
            // The reply to HEAD has the length of a body that is not there.
            let isHead = rest.isEmpty || rest.starts(with: "HTTP/1.1 ".utf8)
            if status != 204, status != 304, !isHead {
                guard rest.count >= length else { return "a body of \(rest.count) bytes in place of \(length)" }
                if status >= 400, (try? JSONParser.parse(Array(rest.prefix(length))))?["code"] == nil {
                    return "an error without the API's body"
                }
                rest = rest.dropFirst(length)
            }
        }
        return nil
    }
}
