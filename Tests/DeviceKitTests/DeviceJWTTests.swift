import Crypto
import Foundation
import Testing
import Wire

@testable import DeviceKit

@Suite("Tokens that a device signs")
struct DeviceJWTTests {
    static func base64(_ text: String) -> [UInt8]? { Data(base64Encoded: text).map { Array($0) } }

    static func isSigned(_ token: String, by key: SoftwareKey) throws -> Bool {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        let signature = try #require(Base64URL.decode(parts[2]))
        #expect(signature.count == 64, "raw r ‖ s")
        let publicKey = try P256.Signing.PublicKey(derRepresentation: Data(key.publicKeyDER))
        return publicKey.isValidSignature(
            try P256.Signing.ECDSASignature(rawRepresentation: Data(signature)),
            for: Data("\(parts[0]).\(parts[1])".utf8))
    }

    static func texts(_ token: String) throws -> (head: String, payload: String) {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        try #require(parts.count == 3)
        #expect(!token.contains("="), "base64url has no padding here")
        return (
            String(decoding: try #require(Base64URL.decode(parts[0])), as: UTF8.self),
            String(decoding: try #require(Base64URL.decode(parts[1])), as: UTF8.self)
        )
    }

    @Test("the authentication token has exactly the SDKs' header and payload")
    func authentication() throws {
        let key = SoftwareKey()
        let token = try DeviceJWT.authentication(
            keyID: "CR99", accountSID: "AC22", nowSeconds: 1_700_000_000, signer: key)
        let (head, payload) = try Self.texts(token)
        #expect(head == #"{"typ":"JWT","alg":"ES256","cty":"twilio-pba;v=1","kid":"CR99"}"#)
        #expect(payload == #"{"sub":"AC22","exp":1700000600,"nbf":1700000000}"#)
        #expect(try Self.isSigned(token, by: key))
        #expect(try !Self.isSigned(token, by: SoftwareKey()))
    }

    @Test("an answer copies the named values byte for byte, in the order named, and ends with the status")
    func answer() throws {
        let json = #"""
            { "sid":"YC1","status" : "pending", "n": 1.50, "details":{"message":"a \/ é\u00e9","fields":[ {"value":"1","label":"IP"} ]},
              "hidden_details":null }
            """#
        let key = SoftwareKey()
        let token = try DeviceJWT.answer(
            json: Array(json.utf8), fields: ["details", "sid", "status", "n", "hidden_details"], status: "approved",
            signer: key)
        let (head, payload) = try Self.texts(token)
        #expect(head == #"{"alg":"ES256","typ":"JWT"}"#)
        #expect(
            payload
                == #"{"details":{"message":"a \/ é\u00e9","fields":[ {"value":"1","label":"IP"} ]},"sid":"YC1","n":1.50,"hidden_details":null,"status":"approved"}"#
        )
        #expect(try Self.isSigned(token, by: key))
    }

    @Test("a field that is to be signed and is not there is an error that names it")
    func missingField() {
        #expect {
            try DeviceJWT.answer(
                json: Array(#"{"sid":"YC1"}"#.utf8), fields: ["sid", " details"], status: "denied",
                signer: SoftwareKey())
        } throws: { error in
            guard case DeviceError.malformedReply(let reason)? = error as? DeviceError else { return false }
            return reason.contains(" details")
        }
    }

    @Test("the public key is 91 bytes of SubjectPublicKeyInfo for P-256, the signature also comes as DER")
    func key() throws {
        let key = SoftwareKey()
        #expect(key.publicKeyDER.count == 91)
        #expect(Base64.encode(key.publicKeyDER).hasPrefix("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"))
        let signature = try key.sign(Array("YF03".utf8))
        #expect(signature.raw.count == 64)
        #expect(signature.der.first == 0x30 && 68...72 ~= signature.der.count)
        let publicKey = try P256.Signing.PublicKey(derRepresentation: Data(key.publicKeyDER))
        let der = try P256.Signing.ECDSASignature(derRepresentation: Data(signature.der))
        #expect(publicKey.isValidSignature(der, for: Data("YF03".utf8)))
    }

    @Test("a key that was coded is the same key")
    func coding() throws {
        let key = SoftwareKey()
        let copy = try JSONDecoder().decode(SoftwareKey.self, from: JSONEncoder().encode(key))
        #expect(copy.publicKeyDER == key.publicKeyDER)
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(SoftwareKey.self, from: Data(#""AAAA""#.utf8)) }
    }
}
