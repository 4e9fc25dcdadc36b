import NIOHTTP1
import Testing

@testable import HTTPEdge

@Suite("What a connection does with requests and replies")
struct ConnectionStateTests {
    private func head(
        _ headers: HTTPHeaders = ["Host": "a"], version: HTTPVersion = .http1_1, method: HTTPMethod = .GET
    ) -> HTTPRequestHead {
        HTTPRequestHead(version: version, method: method, uri: "/", headers: headers)
    }

    private func whole(_ state: inout ConnectionState, _ head: HTTPRequestHead) {
        state.take(head)
        #expect(state.end() == true)
    }

    @Test(
        "an HTTP/1.1 request has exactly one Host of its form; HTTP/1.0 may have none",
        arguments: [
            (["Host": "a.example:8080"], 1, true), (["Host": "[::1]:80"], 1, true), (["Host": ""], 1, true),
            ([:], 1, false), (HTTPHeaders([("Host", "a"), ("Host", "b")]), 1, false),
            (HTTPHeaders([("Host", "a"), ("host", "a")]), 1, false),
            (["Host": "a/b"], 1, false), (["Host": "a@b"], 1, false), (["Host": "a b"], 1, false),
            (["Host": "a,b"], 1, false), ([:], 0, true), (HTTPHeaders([("Host", "a"), ("Host", "b")]), 0, false),
        ] as [(HTTPHeaders, Int, Bool)])
    func hosts(headers: HTTPHeaders, minor: Int, isFine: Bool) {
        let refusal = ConnectionState.refusal(of: head(headers, version: HTTPVersion(major: 1, minor: minor)))
        #expect(refusal == (isFine ? nil : .host))
    }

    @Test("a connection ends behind the reply to HTTP/1.0, to Connection: close, and behind a reply that says close")
    func ends() {
        for (request, closes) in [
            (head(), false), (head(version: .http1_0), true), (head(["Host": "a", "Connection": "close"]), true),
            (head(["Host": "a", "Connection": "keep-alive"], version: .http1_0), true),
            (head(["Host": "a", "Connection": "TE, Close"]), true),
        ] {
            var state = ConnectionState()
            whole(&state, request)
            #expect(state.replyHead(closes: false) == closes)
            #expect(state.replyEnd() == (closes ? .close : .becameIdle))
            #expect(state.takesHead == !closes)
        }
        var state = ConnectionState()
        whole(&state, head())
        #expect(state.replyHead(closes: true) == true)
        #expect(state.replyEnd() == .close)
    }

    @Test("what stands behind a request that ends the connection is not taken")
    func pipelined() {
        var state = ConnectionState()
        whole(&state, head())
        whole(&state, head(version: .http1_0))
        #expect(!state.takesHead)
        #expect(state.replyHead(closes: false) == false)
        #expect(state.replyEnd() == .goOn)
        #expect(state.replyHead(closes: false) == true)
        #expect(state.replyEnd() == .close)
    }

    @Test("a refusal waits for the replies before it, and comes once")
    func refusals() {
        var state = ConnectionState()
        whole(&state, head())
        #expect(state.broken(.host) == .answer)
        #expect(state.nextRefusal() == nil)
        #expect(state.broken(.malformed) == .ignore)
        #expect(state.replyEnd() == .goOn)
        #expect(state.nextRefusal() == .host)
        #expect(state.nextRefusal() == nil)
        #expect(state.isClosing)
    }

    @Test("a body that breaks off is told to its reader; behind an early reply the connection ends")
    func bodies() {
        var state = ConnectionState()
        state.take(head(method: .POST))
        #expect(state.body() == true)
        #expect(state.broken(.bodyDeadline) == .tellReader)
        #expect(state.replyHead(closes: false) == true)
        #expect(state.replyEnd() == .close)
        var early = ConnectionState()
        early.take(head(method: .POST))
        #expect(early.replyHead(closes: false) == false)
        #expect(early.replyEnd() == .goOn)
        #expect(early.broken(.bodyDeadline) == .close)
    }

    @Test("100 Continue goes to who waits for it, once; a reply without it ends the connection")
    func expectation() {
        let asking = head(["Host": "a", "Expect": "100-Continue"], method: .POST)
        var state = ConnectionState()
        state.take(asking)
        #expect(state.wantsBody() == true)
        #expect(state.wantsBody() == false)
        #expect(state.body() == true)
        #expect(state.end() == true)
        #expect(state.replyHead(closes: false) == false)
        var refused = ConnectionState()
        refused.take(asking)
        #expect(refused.replyHead(closes: false) == true)
        var old = ConnectionState()
        old.take(head(["Expect": "100-continue"], version: .http1_0, method: .POST))
        #expect(old.wantsBody() == false)
        var sending = ConnectionState()
        sending.take(asking)
        #expect(sending.body() == true)
        #expect(sending.wantsBody() == false)
    }

    @Test("while the server shuts down the last reply says that it is the last")
    func quiescing() {
        var state = ConnectionState()
        whole(&state, head())
        whole(&state, head())
        state.quiesce()
        #expect(state.replyHead(closes: false) == false)
        #expect(state.replyEnd() == .goOn)
        #expect(state.replyHead(closes: false) == true)
        #expect(state.replyEnd() == .close)
    }
}
