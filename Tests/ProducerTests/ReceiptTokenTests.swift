import ChallengeModel
import Challenges
import Crypto
import Foundation
import KafkaClient
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Receipt tokens that are worthless", .timeLimit(.minutes(5)))
struct ReceiptTokenTests {
    @Test("of another challenge, factor, dispatch, service, account, time or key: one and the same 401")
    func worthless() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001")
            let now = producer.clock.nowMs
            func token(
                account: AccountSID? = nil, service: ServiceSID? = nil, challenge: ChallengeSID? = nil,
                factor: FactorSID? = nil, dispatch: DispatchID = .creation, expiresAtMs: Int64 = now + 300_000
            ) throws -> ReceiptToken {
                ReceiptToken(
                    account: account ?? producer.account.sid,
                    service: try service ?? #require(ServiceSID(try created.text("service_sid"))),
                    challenge: try challenge ?? #require(ChallengeSID(try created.text("sid"))),
                    factor: try factor ?? #require(FactorSID(phone.factor)), dispatch: dispatch,
                    expiresAtMs: expiresAtMs)
            }
            let good = try token().sealed(with: producer.keys)
            let whole = try #require(Base64URL.decode(good))
            // The body of another token under the code of the good one: each field in turn.
            let others = [
                try token(account: .generate(nowMs: now)), try token(service: .generate(nowMs: now)),
                try token(challenge: .generate(nowMs: now)), try token(factor: .generate(nowMs: now)),
                try token(dispatch: .attempt(1)), try token(dispatch: .resend(.generate(nowMs: now))),
                try token(expiresAtMs: now + 3_600_000),
            ].map { other -> String in
                let body = Base64URL.decode(other.sealed(with: producer.keys))?.dropLast(16) ?? []
                return Base64URL.encode(Array(body) + whole.suffix(16))
            }
            var bad = others + ["", "x", good + "AA", String(good.dropFirst()), String(repeating: "A", count: 9000)]
            bad.append(try token().sealed(with: .random()))
            for index in whole.indices {
                var flipped = whole
                flipped[index] ^= 1
                bad.append(Base64URL.encode(flipped))
            }
            var replies: Set<String> = []
            @Sendable func reply(_ form: [(String, String)]) async throws -> String {
                let answer = try await producer.post("/v2/Receipts", form)
                // All but what differs between any two replies.
                let headers = answer.headers.filter { !["Date", "Twilio-Request-Id"].contains($0.name) }
                return "\(answer.status) \(headers.map { "\($0.name): \($0.value)" }.sorted()) \(answer.text)"
            }
            for text in bad {
                replies.insert(try await reply([("ReceiptToken", text)]))
                // What stands beside it is not even looked at.
                replies.insert(try await reply([("ReceiptToken", text), ("Channel", "nonsense")]))
            }
            replies.insert(try await reply([]))
            replies.insert(try await reply([("ReceiptToken", good), ("ReceiptToken", good)]))
            #expect(try await producer.post("/v2/Receipts", [("ReceiptToken", good)]).status == 204)
            producer.clock.advance(.seconds(300 + 59))
            #expect(try await producer.post("/v2/Receipts", [("ReceiptToken", good)]).status == 204, "a minute more")
            producer.clock.advance(.seconds(3))
            replies.insert(try await reply([("ReceiptToken", good)]))
            #expect(replies.count == 1, "\(replies)")
            #expect(replies.first?.hasPrefix("401 ") == true)
            // As a password it opens nothing.
            for path in ["\(phone.challengesPath)", phone.factorPath] {
                #expect(try await producer.get(path, as: .basic("token", good)).status == 401)
            }
        }
    }
}
