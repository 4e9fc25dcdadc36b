import ChallengeModel
import Challenges
import Crypto
import Testing
import Wire

@testable import Producer

@Suite("What makes two requests equal")
struct RequestHashTests {
    @Test("the hashes that the store keeps have a form that does not change")
    func form() throws {
        let account = try #require(AccountSID("AC00000000000000000000000000000000"))
        let key = try #require(
            try IdempotencyRules.key(
                "order-1", account: account, method: "POST", path: "/v2/Services/VA/Entities/a/Challenges",
                ParameterReader(reading: "FactorSid=YF1&Details.Message=Hi&FactorSid=YF2".utf8)))
        #expect(Hexadecimal.encode(key.key) == "53aca6accc653329f61a459f80b2c824d90e0ce17f6818397ab6d0922a7cec3c")
        #expect(Hexadecimal.encode(key.request) == "ca2606c22bca207e0988f422890c93b0b21c067d46a3cfe7eba1b8081b77181d")
        let parts = ["POST", "/v2/x", "", "a=1"].map { Array($0.utf8) }
        #expect(
            Hexadecimal.encode(SHA256.hash(parts: parts))
                == "e962a314480630760783063f01787e570d5c48a8a882fc6efa02e8c5864563e6")
    }

    @Test("the border between two parts counts")
    func borders() {
        #expect(SHA256.hash(parts: [[1], [2, 3]]) != SHA256.hash(parts: [[1, 2], [3]]))
        #expect(SHA256.hash(parts: [[1], []]) != SHA256.hash(parts: [[1]]))
    }

    @Test(
        "identities are equal in any case, and only then",
        arguments: [
            ("person-1", "PERSON-1", true), ("\u{C9}mile", "\u{E9}mile", true), ("person-1", "person-2", false),
            // One character and two, which Swift takes for equal.
            ("\u{E9}", "e\u{301}", false),
        ])
    func identities(one: String, other: String, isSame: Bool) {
        #expect(StorePolicy.isSameIdentity(one, other) == isSame)
    }
}
