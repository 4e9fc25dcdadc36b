import ChallengeModel
import Challenges
import Foundation
import HTTPEdge
import Testing
import Wire

@testable import Producer

@Suite("Roles of API keys and marks of refusals", .timeLimit(.minutes(5)))
struct RoleTests {
    private func key(_ producer: ProducerHarness, _ role: AccountRole) async throws -> Authorization {
        let (key, secret) = try await producer.store.createKey(
            account: producer.account.sid, role: role, friendlyName: "", nowMs: producer.clock.nowMs)
        return .basic(key.sid.rawValue, secret)
    }

    @Test("a key of role send alone gets no device enrolled and no session token; enrol does, and asks nobody")
    func enrolment() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let (send, enrol, old) = (
                try await key(producer, .send), try await key(producer, .enrol), try await key(producer, .sendAndEnrol)
            )
            let device = TestDevice()
            for (visitor, status) in [(send, 403), (enrol, 201), (old, 201)] {
                let token = try await producer.post(
                    "\(service)/AccessTokens", [("Identity", "user-0001"), ("FactorType", "push")], as: visitor)
                #expect(token.status == status)
            }
            let made = try await producer.post(
                "\(service)/Entities/user-0001/Factors", device.enrolment, as: enrol)
            #expect(made.status == 201, "\(made.text)")
            #expect(
                try await producer.post("\(service)/Entities/user-0002/Factors", TestDevice().enrolment, as: send)
                    .status
                    == 403)
            for (visitor, status) in [(send, 403), (enrol, 201), (old, 201)] {
                let token = try await producer.post(
                    "\(service)/SessionTokens", [("Identity", "user-0001")], as: visitor)
                #expect(token.status == status)
            }
            let ask = [("Details.Message", "Log in?")]
            let challenges = "\(service)/Entities/user-0001/Challenges"
            #expect(try await producer.post(challenges, ask, as: enrol).status == 403)
            #expect(try await producer.get(challenges, as: enrol).status == 403)
            // Keys of before are named.
            #expect(try await producer.store.keysToNarrow() == 1)
        }
    }

    @Test("a push token is shown to role full and to its device, and to nobody else")
    func pushTokens() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let device = try phone.token(nowMs: producer.clock.nowMs)
            func shown(_ visitor: Authorization) async throws -> [JSONValue?] {
                let one = try await producer.get(phone.factorPath, as: visitor).json()
                let list = try await producer.get("\(service)/Entities/user-0001/Factors", as: visitor)
                return [one["config"]?["notification_token"]]
                    + (list.status == 200 ? try list.items("factors").map { $0["config"]?["notification_token"] } : [])
            }
            let token = try await shown(producer.backend)
            #expect(token.count == 2 && token.allSatisfy { $0?.stringValue?.isEmpty == false })
            for role in [AccountRole.send, .enrol, .read, .sendAndEnrol] {
                #expect(try await shown(key(producer, role)) == [.null, .null], "\(role)")
            }
            #expect(try await shown(device) == [token[0]])
        }
    }

    @Test("wrong passwords, forged tokens, wrong roles and refused answers leave marks, folded per minute and address")
    func marks() async throws {
        try await ProducerHarness.run(
            limits: .none,
            adjust: {
                $0.refusalInterval = .milliseconds(50)
                $0.trustedProxies = TrustedProxies(parsing: "127.0.0.1,::1") ?? TrustedProxies()
            }
        ) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let made = try await producer.createChallenge(service, "user-0001", [("NumberMatching", "true")])
            let challenge = try made.text("sid")
            let read = try await key(producer, .read)
            let account = producer.account.sid.rawValue
            func from(_ address: String, _ path: String, as visitor: Authorization) async throws -> Int {
                let answer = try await producer.send(
                    "GET", path, as: visitor, headers: [("X-Forwarded-For", "203.0.113.9, \(address)")])
                return answer.status
            }
            for _ in 0..<30 {
                #expect(try await from("198.51.100.7", "/v2/Services", as: .basic(account, "wrong")) == 401)
            }
            // An account that does not exist has no trail.
            let nobody = "AC" + String(repeating: "0", count: 32)
            #expect(try await from("198.51.100.7", "/v2/Services", as: .basic(nobody, "wrong")) == 401)
            let forged = try phone.token(nowMs: producer.clock.nowMs - 1_000_000_000)
            #expect(try await from("198.51.100.8", phone.factorPath, as: forged) == 401)
            #expect(
                try await producer.post("\(service)/AccessTokens", [("Identity", "user-0001")], as: read).status == 403)
            let refused = try await producer.post(
                "\(phone.challengesPath)/\(challenge)", [("AuthPayload", "e30.e30.AAAA")],
                as: try phone.token(nowMs: producer.clock.nowMs))
            #expect(refused.status == 403)
            @Sendable func trail(_ action: RefusalMark.Action) async throws -> [AuditEvent] {
                try await producer.store.auditEvents(
                    AuditFilter(account: producer.account.sid), page: PageRequest(size: 1000)
                ).items.filter { $0.action == action.rawValue }
            }
            try await becomesTrue("all are written") {
                let logins = try await trail(.login).map(\.count).reduce(0, +)
                let (tokens, roles, answers) = (
                    try await trail(.token).count, try await trail(.role).count, try await trail(.answer).count
                )
                return logins == 30 && tokens == 1 && roles == 1 && answers == 1
            }
            #expect(try await trail(.login).allSatisfy { $0.actor == account && $0.address == "198.51.100.7" })
            let token = try #require(try await trail(.token).first)
            #expect(token.actor == phone.factor && token.address == "198.51.100.8")
            let answer = try #require(try await trail(.answer).first)
            #expect(answer.actor == phone.factor && answer.subject == challenge)
            #expect(try await trail(.role).first?.actor.hasPrefix("SK") == true)
            let shown = try await producer.get("/v1/AuditEvents", as: producer.backend).items("audit_events")
            #expect(
                shown.contains { $0["address"] == .string("198.51.100.7") && $0["action"] == .string("login.refused") })
        }
    }

    @Test("changed settings are kept with their values before and after, and nothing else is")
    func settings() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let changed = try await producer.post(
                service,
                [("FriendlyName", "Shop"), ("Push.NumberMatching", "required"), ("Push.MaxFactors", "20")],
                as: producer.backend)
            #expect(changed.status == 200, "\(changed.text)")
            let events = try await producer.get("/v1/AuditEvents", as: producer.backend).items("audit_events")
            let update = try #require(events.first { $0["action"] == .string("service.updated") })
            func change(_ before: JSONValue, _ after: JSONValue) -> JSONValue {
                .object([("before", before), ("after", after)])
            }
            #expect(
                update["detail"]
                    == .object([
                        ("FriendlyName", change(.string("Bank"), .string("Shop"))),
                        ("number_required", change(.boolean(false), .boolean(true))),
                    ]), "\(update)")
        }
    }

    @Test("marks are bounded in memory, and what is beyond the bound is counted in one")
    func bounds() throws {
        let account = AccountSID.generate(nowMs: 0)
        var tally = RefusalTally(bound: 1000)
        for number in 0..<5000 {
            tally.add(
                RefusalMark(
                    account: account, actor: account.rawValue, action: .login, subject: account.rawValue,
                    address: "2001:db8::\(String(number, radix: 16))"))
        }
        let marks = tally.take()
        #expect(marks.count == RefusalTally.mostPerAccount + 1 && marks.map(\.count).reduce(0, +) == 5000)
        let common = try #require(marks.first { $0.mark.address == RefusalTally.various })
        #expect(common.count == 5000 - RefusalTally.mostPerAccount && common.mark.actor == RefusalTally.various)
        #expect(tally.isEmpty)
        for _ in 0..<5000 {
            let other = AccountSID.generate(nowMs: 0)
            tally.add(
                RefusalMark(
                    account: other, actor: other.rawValue, action: .login, subject: other.rawValue, address: "::1"))
        }
        #expect(tally.take().count <= 2000 && tally.dropped > 0)
    }
}
