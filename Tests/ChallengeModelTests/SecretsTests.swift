import ChallengeModel
import Crypto
import Foundation
import Testing
import Wire

@Suite("Key rings, MACs and receipt tokens")
struct SecretsTests {
    static let account = AccountSID("AC000000000000000000000000000000aa")!
    static let service = ServiceSID("VA000000000000000000000000000000bb")!
    static let challenge = ChallengeSID("YC0300000000000000000000000000cccc")!
    static let factor = FactorSID("YF0300000000000000000000000000dddd")!

    @Test("a ring reads its own text, seals with the first key and opens with all")
    func rotation() throws {
        let old = KeyRing.random(id: "old")
        let (id, sealed) = try old.seal(Data("secret".utf8), context: ["AC1", "CR1", "credential"])
        let rotated = try KeyRing(parsing: KeyRing.random(id: "new").text + "," + old.text)
        #expect(rotated.first.id == "new")
        #expect(try rotated.open(sealed, keyID: id, context: ["AC1", "CR1", "credential"]) == Data("secret".utf8))
    }

    @Test("a sealed value opens in no other context and under no other key")
    func context() throws {
        let ring = KeyRing.random()
        let (id, sealed) = try ring.seal(Data("secret".utf8), context: ["AC1", "CR1"])
        #expect(throws: SealError.notAuthentic) { try ring.open(sealed, keyID: id, context: ["AC1C", "R1"]) }
        #expect(throws: SealError.notAuthentic) {
            try KeyRing.random().open(sealed, keyID: id, context: ["AC1", "CR1"])
        }
        #expect(throws: SealError.unknownKey("k9")) { try ring.open(sealed, keyID: "k9", context: ["AC1", "CR1"]) }
    }

    @Test(
        "a bad ring says which entry and what is expected, never the key",
        arguments: [
            ("", "entry 1"), ("abc", "entry 1"), ("a:AAAA", "entry 1"), ("a b:AAAA", "entry 1"),
            (
                "k1:\(Data(repeating: 7, count: 32).base64EncodedString()),k1:\(Data(repeating: 8, count: 32).base64EncodedString())",
                "entry 2"
            ),
        ])
    func badRing(text: String, entry: String) {
        let error = #expect(throws: KeyRingError.self) { try KeyRing(parsing: text) }
        #expect(error?.description.contains(entry) == true)
        #expect(error?.description.contains("CAgI") == false)
    }

    @Test("a code under a key that is not here names it; what has not the form of a code names none")
    func unknownKey() {
        let authenticator = RecordAuthenticator(keys: .random(id: "k1"))
        func mac(_ id: String) -> [UInt8] {
            RecordAuthenticator(keys: .random(id: id)).mac(topic: "t", key: [], contentType: .protobuf, value: [1])
        }
        #expect(authenticator.unknownKeyID(mac: mac("k2")) == "k2")
        #expect(authenticator.unknownKeyID(mac: mac("k1")) == nil, "a wrong code under a key of ours")
        let code = String(repeating: "A", count: 44)
        for text in [
            ":" + code, "k2", "k2:", "k2:AAAA", "k\n2:" + code, String(repeating: "k", count: 17) + ":" + code,
        ] {
            #expect(authenticator.unknownKeyID(mac: Array(text.utf8)) == nil, "\(text)")
        }
        #expect(authenticator.unknownKeyID(mac: nil) == nil)
    }

    @Test("a MAC holds for exactly its topic, key, content type and value")
    func mac() {
        let authenticator = RecordAuthenticator(keys: .random())
        let key = Array("YC1".utf8)
        let value: [UInt8] = [1, 2, 3]
        let mac = authenticator.mac(topic: "beckon.challenges", key: key, contentType: .protobuf, value: value)
        func valid(_ topic: String, _ key: [UInt8], _ type: String, _ value: [UInt8], _ mac: [UInt8]?) -> Bool {
            authenticator.isValid(mac: mac, topic: topic, key: key, contentType: type, value: value)
        }
        #expect(valid("beckon.challenges", key, "application/protobuf", value, mac))
        #expect(!valid("beckon.receipts", key, "application/protobuf", value, mac))
        #expect(!valid("beckon.challenges", key + [0], "application/protobuf", value, mac))
        #expect(!valid("beckon.challenges", key, "application/json", value, mac))
        #expect(!valid("beckon.challenges", key, "application/protobuf", [1, 2], mac))
        #expect(!valid("beckon.challenges", key, "application/protobuf", value, nil))
        #expect(!valid("beckon.challenges", key, "application/protobuf", value, Array("k1:AAAA".utf8)))
        #expect(!valid("beckon.challenges", key, "application/protobuf", value, []))
        let stranger = RecordAuthenticator(keys: .random())
        let forged = stranger.mac(topic: "beckon.challenges", key: key, contentType: .protobuf, value: value)
        #expect(!valid("beckon.challenges", key, "application/protobuf", value, forged))
    }

    @Test(
        "a receipt token gives back what it was made of, in at most 160 characters",
        arguments: [
            DispatchID.creation, .attempt(1), .attempt(65_535),
            .resend(NotificationSID("NT00000000000000000000000000000001")!),
        ])
    func token(dispatch: DispatchID) throws {
        let ring = KeyRing.random()
        let token = ReceiptToken(
            account: Self.account, service: Self.service, challenge: Self.challenge, factor: Self.factor,
            dispatch: dispatch,
            expiresAtMs: 1_760_000_000_001)
        let text = token.sealed(with: ring)
        #expect(text.utf8.count <= 160)
        #expect(ReceiptToken(text, keys: ring, nowMs: 1_760_000_000_000) == token)
        #expect(ReceiptToken(text, keys: ring, nowMs: 1_760_000_061_000) == token)
        #expect(ReceiptToken(text, keys: ring, nowMs: 1_760_000_061_001) == nil)
        #expect(ReceiptToken(text, keys: .random(), nowMs: 1_760_000_000_000) == nil)
    }

    @Test("no single altered character of a receipt token is accepted")
    func alteredToken() throws {
        let ring = KeyRing.random()
        let text = ReceiptToken(
            account: Self.account, service: Self.service, challenge: Self.challenge, factor: Self.factor,
            dispatch: .attempt(2),
            expiresAtMs: 1_760_000_000_000
        ).sealed(with: ring)
        let good = try #require(Base64URL.decode(text))
        for index in good.indices {
            var bytes = good
            bytes[index] ^= 1
            #expect(ReceiptToken(Base64URL.encode(bytes), keys: ring, nowMs: 0) == nil, "byte \(index)")
        }
        for bad in ["", "a", text + "A", String(text.dropLast(4)), text + "=", String(repeating: "A", count: 4000)] {
            #expect(ReceiptToken(bad, keys: ring, nowMs: 0) == nil)
        }
    }
}
