import ChallengeModel
import Crypto
import Foundation
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("the APNs provider token")
struct ProviderTokenTests {
    static let periodStart: Int64 = 1_800_000_000_000 / ProviderToken.periodMs * ProviderToken.periodMs

    @Test(
        "iat is the start of a period of 40 minutes, as of two minutes ago",
        arguments: [
            (0, -40), (1, -40), (2, 0), (41, 0), (42, 40), (82, 80),
        ] as [(Int64, Int64)])
    func issuedAt(minute: Int64, expected: Int64) {
        let now = Self.periodStart + minute * 60_000
        #expect(ProviderToken.issuedAt(nowMs: now) == (Self.periodStart + expected * 60_000) / 1000)
        #expect(ProviderToken.issuedAt(nowMs: now) * 1000 <= now - ProviderToken.clockSlackMs)
        #expect(now - ProviderToken.issuedAt(nowMs: now) * 1000 < 42 * 60_000)
    }

    @Test("the token is a JWT that the key's public half verifies")
    func verifies() throws {
        let token = try make()
        let bearer = try token.bearer(nowMs: Self.periodStart + 5 * 60_000).text
        #expect(bearer.hasPrefix("bearer "))
        let parts = bearer.dropFirst(7).split(separator: ".").map(String.init)
        #expect(parts.count == 3)
        let header = try object(parts[0])
        #expect(header["alg"] as? String == "ES256")
        #expect(header["kid"] as? String == "KEY1234567")
        let claims = try object(parts[1])
        #expect(claims["iss"] as? String == "TEAM123456")
        #expect((claims["iat"] as? NSNumber)?.int64Value == Self.periodStart / 1000)
        let signature = try P256.Signing.ECDSASignature(rawRepresentation: try #require(decode(parts[2])))
        #expect(Rig.apnsKey.publicKey.isValidSignature(signature, for: Data("\(parts[0]).\(parts[1])".utf8)))
    }

    @Test("one value for a whole period, another in the next")
    func cached() throws {
        let token = try make()
        let first = try token.bearer(nowMs: Self.periodStart + 2 * 60_000)
        #expect(try token.bearer(nowMs: Self.periodStart + 41 * 60_000) === first)
        #expect(try token.bearer(nowMs: Self.periodStart + 42 * 60_000) !== first)
    }

    @Test("a token refused as expired is renewed once, and not again for 20 minutes")
    func renewed() throws {
        let token = try make()
        let now = Self.periodStart + 30 * 60_000
        let first = try token.bearer(nowMs: now)
        let second = try #require(try token.renewed(refused: first, nowMs: now))
        #expect(second !== first)
        #expect(try token.bearer(nowMs: now) === second)
        #expect(try token.renewed(refused: first, nowMs: now) === second, "another push with the old one")
        #expect(try token.renewed(refused: second, nowMs: now + 60_000) == nil)
        #expect(try token.bearer(nowMs: Self.periodStart + 42 * 60_000) !== second)
        let claims = try object(String(second.text.split(separator: ".")[1]))
        #expect((claims["iat"] as? NSNumber)?.int64Value == now / 1000)
    }

    @Test("a key that cannot be used says what it should be")
    func badKeys() throws {
        var key = Rig.apnsCredential().apnsToken
        key.privateKeyPem = "no key"
        let error = #expect(throws: UnusableCredential.self) { try ProviderToken(key) }
        #expect(error?.description.contains("no key") == false)
        key = Rig.apnsCredential().apnsToken
        key.teamID = ""
        #expect(throws: UnusableCredential.self) { try ProviderToken(key) }
    }

    private func make() throws -> ProviderToken { try ProviderToken(Rig.apnsCredential().apnsToken) }

    private func object(_ part: String) throws -> [String: Any] {
        let bytes = try #require(decode(part))
        return try #require(try JSONSerialization.jsonObject(with: bytes) as? [String: Any])
    }
}

/// Base64url without padding.
func decode(_ text: some StringProtocol) -> Data? {
    var base64 = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
    while base64.count % 4 != 0 { base64 += "=" }
    return Data(base64Encoded: base64)
}
