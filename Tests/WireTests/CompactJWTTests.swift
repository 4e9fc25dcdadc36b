import Crypto
import Foundation
import Testing
import Wire

@Suite("Compact JWTs")
struct CompactJWTTests {
    private let key = P256.Signing.PrivateKey()

    private func token(header: String = #"{"alg":"ES256"}"#, payload: String = #"{"sub":"a"}"#) throws -> String {
        try CompactJWT.signed(header: Array(header.utf8), payload: Array(payload.utf8)) {
            try key.signature(for: $0).rawRepresentation
        }
    }

    @Test("a token is read back, and only its own key has signed it")
    func readBack() throws {
        let jwt = try #require(CompactJWT(try token()))
        #expect(jwt.algorithm == "ES256" && jwt.payload["sub"]?.stringValue == "a")
        #expect(jwt.isSigned(by: key.publicKey))
        #expect(!jwt.isSigned(by: P256.Signing.PrivateKey().publicKey))
    }

    @Test(
        "another algorithm, and an extension that is critical, are not ES256",
        arguments: [
            #"{"alg":"none"}"#, #"{"alg":"HS256"}"#, #"{"alg":"es256"}"#, "{}", #"{"alg":"ES256","crit":["b64"]}"#,
        ])
    func otherAlgorithm(header: String) throws {
        let jwt = try #require(CompactJWT(try token(header: header)))
        #expect(!jwt.isES256 && !jwt.isSigned(by: key.publicKey))
    }

    @Test("what is not three parts with two objects is no token")
    func malformed() throws {
        let good = try token()
        let parts = good.split(separator: ".")
        let (head, body, signature) = (String(parts[0]), String(parts[1]), String(parts[2]))
        let bad: [String] = [
            "", ".", "..", "\(good)=", "\(good).", "\(good).a", "\(head).\(body)", "W10.\(body).\(signature)",
            "\(head).W10.\(signature)", " \(good)", "\(good)\n",
            "\(head).\(body).\(String(repeating: "A", count: CompactJWT.maxLength))",
        ]
        for bad in bad {
            #expect(CompactJWT(bad) == nil, "\(bad.prefix(80))")
        }
        for payload in [#"{"sub":"a","sub":"b"}"#, #"{"sub":"a"} "# + "x", #"{"sub":"\u0000"}"#] {
            #expect(CompactJWT(try token(payload: payload)) == nil, "\(payload)")
        }
    }

    @Test("a signature that was changed, cut or lengthened is not the key's")
    func signature() throws {
        let parts = try token().split(separator: ".")
        let signature = try #require(Base64URL.decode(parts[2]))
        var flipped = signature
        flipped[10] ^= 1
        for bad in [flipped, Array(signature.dropLast()), signature + [0], []] {
            let jwt = try #require(CompactJWT("\(parts[0]).\(parts[1]).\(Base64URL.encode(bad))"))
            #expect(!jwt.isSigned(by: key.publicKey))
        }
    }
}
