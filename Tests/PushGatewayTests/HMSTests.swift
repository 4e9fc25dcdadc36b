import ChallengeModel
import Foundation
import NIOCore
import Synchronization
import Testing

@testable import PushGateway
@testable import PushProviders

struct HMSRow: Sendable, CustomTestStringConvertible {
    var http = 200
    var code: String?
    var disposition: Disposition
    var retryMs: Int64 = 0
    var reauthorizes = false
    var testDescription: String { "\(http) \(code ?? "without a code")" }
}

@Suite("HMS Push Kit", .serialized, .timeLimit(.minutes(5)))
struct HMSTests {
    static let rows: [HMSRow] = [
        HMSRow(code: "80000000", disposition: .accepted),
        HMSRow(code: "80100000", disposition: .rejected),
        HMSRow(code: "80100001", disposition: .rejected), HMSRow(code: "80100002", disposition: .rejected),
        HMSRow(code: "80100003", disposition: .rejected), HMSRow(code: "80100004", disposition: .rejected),
        HMSRow(code: "80100013", disposition: .rejected), HMSRow(code: "80100016", disposition: .rejected),
        HMSRow(code: "80100017", disposition: .rejected), HMSRow(code: "80100018", disposition: .rejected),
        HMSRow(code: "80200001", disposition: .credentialFault, reauthorizes: true),
        HMSRow(http: 401, code: "80200003", disposition: .credentialFault, reauthorizes: true),
        HMSRow(code: "80300002", disposition: .credentialFault),
        HMSRow(code: "80300007", disposition: .rejected),
        HMSRow(code: "80300008", disposition: .rejected), HMSRow(code: "80300010", disposition: .rejected),
        HMSRow(code: "80300011", disposition: .rejected), HMSRow(code: "80300028", disposition: .rejected),
        HMSRow(code: "80300029", disposition: .rejected),
        HMSRow(code: "80600003", disposition: .deferred, retryMs: 5000),
        HMSRow(http: 500, code: "81000001", disposition: .deferred, retryMs: 10_000),
        // Codes that Huawei has not told us of, and answers without one.
        HMSRow(code: "80999999", disposition: .rejected), HMSRow(http: 400, disposition: .rejected),
        HMSRow(http: 401, disposition: .credentialFault, reauthorizes: true),
        HMSRow(http: 403, disposition: .credentialFault), HMSRow(http: 404, disposition: .rejected),
        HMSRow(http: 429, disposition: .deferred, retryMs: 60_000),
        HMSRow(http: 500, disposition: .deferred, retryMs: 10_000),
        HMSRow(http: 502, disposition: .deferred, retryMs: 10_000),
        HMSRow(http: 503, disposition: .deferred, retryMs: 10_000),
        HMSRow(http: 200, disposition: .deferred, retryMs: 10_000),
    ]

    @Test("every code", arguments: rows)
    func everyCode(row: HMSRow) {
        let body = row.code.map { #"{"code":"\#($0)","msg":"m","requestId":"r-1"}"# } ?? "<html>"
        let verdict = HMSClassification.verdict(
            status: row.http, body: Array(body.utf8), retryAfter: [], nowMs: 1_800_000_000_000)
        #expect(verdict.disposition == row.disposition)
        #expect(verdict.retryAfterMs == row.retryMs)
        #expect(verdict.shouldReauthorize == row.reauthorizes)
        #expect(verdict.providerMessageID == (row.code == nil ? "" : "r-1"))
        if row.disposition != .accepted { #expect(verdict.reason == row.code ?? "HTTP \(row.http)") }
    }

    @Test("the table of codes and this test know the same ones")
    func tableIsWhole() {
        #expect(Set(Self.rows.compactMap(\.code)).subtracting(["80999999"]) == Set(HMSClassification.meanings.keys))
    }

    @Test("a data message of high urgency, what the app needs as JSON in a string, and no collapse key")
    func message() throws {
        var push = Rig.push(.hms)
        push.expiresAtMs = 1_800_000_057_900
        push.receiptTag = "tag-1"
        push.message = "Say \"yes\"\n\\ to Köln?"
        let request = OutboundRequest(capacity: 64, expiresAtMs: 0, deadline: .now()) { _, _ in }
        try HMSRequest.write(push, path: "/v1/1/messages:send", nowMs: 1_800_000_000_000, to: request)
        #expect(request.fields == [":path": "/v1/1/messages:send", "content-type": "application/json"])
        let body = try #require(try JSONSerialization.jsonObject(with: Data(request.body)) as? [String: Any])
        let message = try #require(body["message"] as? [String: Any])
        #expect(message["token"] as? [String] == [push.pushToken])
        let android = try #require(message["android"] as? [String: Any])
        #expect(android["urgency"] as? String == "HIGH")
        #expect(android["ttl"] as? String == "57s")
        #expect(android["collapse_key"] as? Int == -1)
        #expect(android["bi_tag"] as? String == push.receiptTag)
        let text = try #require(message["data"] as? String)
        let data = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: String])
        #expect(data["message"] == push.message)
        #expect(data["challenge_sid"] == push.challengeSID)
        #expect(data["receipt_token"] == push.receiptToken)
        #expect(data["tag"] == push.challengeSID)
        #expect(data.count == 9)
    }

    @Test("what HMS could not take is refused here")
    func unfit() {
        func write(_ change: (inout Push) -> Void) throws(UnfitPush) {
            var push = Rig.push(.hms)
            change(&push)
            let request = OutboundRequest(capacity: 64, expiresAtMs: 0, deadline: .now()) { _, _ in }
            try HMSRequest.write(push, path: "/v1/1/messages:send", nowMs: 0, to: request)
        }
        #expect(throws: UnfitPush(reason: "80300010")) { try write { $0.pushToken = "" } }
        #expect(throws: UnfitPush(reason: "no-background")) { try write { $0.kind = .background } }
        #expect(throws: UnfitPush(reason: "80300008")) {
            try write { $0.receiptToken = String(repeating: "t", count: 4097) }
        }
    }

    @Test(
        "a message that is too long is cut between two characters, its double escapes counted",
        arguments: RequestTests.longMessages)
    func shortened(long: RequestTests.LongMessage) throws {
        let (message, most) = (long.text, long.most)
        var push = Rig.push(.hms)
        push.message = message
        let request = OutboundRequest(capacity: 64, expiresAtMs: 0, deadline: .now()) { _, _ in }
        try HMSRequest.write(push, path: "/v1/1/messages:send", nowMs: 0, to: request)
        let withoutToken = request.bodyCount - push.pushToken.utf8.count - 2
        #expect((4097 - most...4096).contains(withoutToken), "\(withoutToken)")
        let body = try #require(try JSONSerialization.jsonObject(with: Data(request.body)) as? [String: Any])
        let text = try #require((body["message"] as? [String: Any])?["data"] as? String)
        let data = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: String])
        let left = try #require(data["message"])
        #expect(left.last == "…" && left.count > 1)
        #expect(message.starts(with: left.dropLast()))
        #expect(data["receipt_token"] == push.receiptToken)
    }

    @Test("one access token for many pushes, bought with the app's secret, and bought anew when it is not taken")
    func send() async throws {
        let bought = Mutex(0)
        var script = ScriptedServer.Script()
        script.react = { request in
            if request.path == "/token" {
                let number = bought.withLock { count in
                    count += 1
                    return count
                }
                return .answer(
                    status: 200, body: #"{"access_token":"at-\#(number)","expires_in":3600,"token_type":"Bearer"}"#)
            }
            return request.authorization == "Bearer at-1"
                ? .answer(status: 200, body: #"{"code":"80200003","msg":"expired","requestId":"r"}"#)
                : .answer(status: 200, body: #"{"code":"80000000","msg":"Success","requestId":"r-7"}"#)
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(40, inFlight: 10) { _ in Rig.push(.hms) }
                #expect(answers.summary == ["accepted": 40])
                #expect(answers.values.joined().allSatisfy { $0.providerMessageID == "r-7" })
                #expect(bought.withLock { $0 } == 2)
                let token = try #require(server.seen.requests.first { $0.path == "/token" })
                #expect(
                    String(decoding: token.body, as: UTF8.self)
                        == "grant_type=client_credentials&client_id=104567890&client_secret=s3cret%2B%2F%3D%26")
                #expect(
                    server.seen.requests.allSatisfy { ["/token", "/v1/104567890/messages:send"].contains($0.path) })
            }
        }
    }

    @Test("a push whose deadline passed while it waited for an access token does not leave, and blames nobody")
    func slowToken() async throws {
        var script = ScriptedServer.Script()
        script.react = {
            $0.path == "/token"
                ? .answer(status: 200, body: #"{"access_token":"t","expires_in":3600}"#, afterMs: 700)
                : .answer(status: 200, body: #"{"code":"80000000","msg":"Success","requestId":"r"}"#)
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .milliseconds(300) }) { rig in
                // No push waits for the token past its own deadline; on a busy machine the token comes in the same
                // moment.
                let late = await rig.volley(20, inFlight: 20) { _ in Rig.push(.hms) }.summary
                #expect(Set(late.keys).isSubset(of: ["deferred access-token", "deferred withdrawn"]), "\(late)")
                #expect(server.seen.requests.allSatisfy { $0.path == "/token" })
                #expect(rig.gateway.statistics.openCircuits == 0)
                // The fetch goes on for the pushes that come next.
                while await rig.send(Rig.push(.hms)).disposition != .accepted {
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(server.seen.requests.count { $0.path == "/token" } == 1)
            }
        }
    }

    @Test("when HMS calls every token bad, none dies of it")
    func allTokensBad() async throws {
        var script = ScriptedServer.Script()
        script.react = {
            $0.path == "/token"
                ? .answer(status: 200, body: #"{"access_token":"t","expires_in":3600}"#)
                : .answer(status: 200, body: #"{"code":"80300007","msg":"all tokens are invalid","requestId":"r"}"#)
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                #expect(
                    await rig.volley(50, inFlight: 10) { _ in Rig.push(.hms) }.summary == ["rejected 80300007": 50])
            }
        }
    }
}
