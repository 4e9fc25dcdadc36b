import Testing

@testable import ServiceSupport

@Suite("Pages on the admin port")
struct AdminPageTests {
    @Test(
        "without a token on loopback addresses only; with one for those who show it",
        arguments: [
            ("127.0.0.1", nil, nil, 200), ("localhost", nil, nil, 200), ("::1", nil, nil, 200),
            ("0.0.0.0", nil, nil, 403),
            ("10.0.0.1", nil, "Bearer x", 403), ("0.0.0.0", "0123456789abcdef", nil, 401),
            ("127.0.0.1", "0123456789abcdef", nil, 401),
            ("127.0.0.1", "0123456789abcdef", "Basic 0123456789abcdef", 401),
            ("0.0.0.0", "0123456789abcdef", "Bearer 0123456789abcdeg", 401),
            ("0.0.0.0", "0123456789abcdef", "Bearer ", 401),
            ("0.0.0.0", "0123456789abcdef", "Bearer 0123456789abcdef0123456789abcdef", 401),
            ("0.0.0.0", "0123456789abcdef", "bearer 0123456789abcdef", 200),
        ] as [(String, String?, String?, Int)])
    func access(host: String, token: String?, authorization: String?, status: Int) {
        let refusal = AdminAccess(host: host, token: token).refusal(authorization: authorization)
        #expect((refusal?.status ?? 200) == status)
    }

    @Test("an error is JSON whatever it quotes")
    func error() {
        #expect(AdminReply.error(400, "a \"b\" \\ \n").json == #"{"error":"a \"b\" \\ \n"}"#)
    }
}
