import ChallengeModel
import Crypto
import Foundation
import Testing
import Wire

@testable import Producer

/// A phone, written from the protocol's description with CryptoKit only: what it sends is not what the Producer's code
/// makes.
struct TestDevice: Sendable {
    let key: P256.Signing.PrivateKey
    let pushToken: String
    var factorPath = ""
    var challengesPath = ""
    var factor = ""
    var account = ""
    var keyID = ""

    init() {
        key = P256.Signing.PrivateKey()
        pushToken = (0..<32).map { _ in String(format: "%02x", UInt8.random(in: 0...255)) }.joined()
    }

    var publicKey: String { key.publicKey.derRepresentation.base64EncodedString() }

    /// In the order of the iOS SDK.
    var enrolment: [(String, String)] {
        [
            ("FriendlyName", "Ann's phone"), ("FactorType", "push"), ("Binding.Alg", "ES256"),
            ("Binding.PublicKey", publicKey), ("Config.SdkVersion", "3.0.2"), ("Config.NotificationToken", pushToken),
            ("Config.NotificationPlatform", "apn"), ("Config.AppId", "com.example.bank"),
            ("Metadata", #"{"os":"iOS"}"#),
        ]
    }

    /// With what the creation's reply gave.
    func enrolled(_ answer: HTTPAnswer) throws -> TestDevice {
        var device = self
        device.factor = try answer.text("sid")
        device.account = try answer.text("account_sid")
        device.keyID = try #require(try answer.json()["config"]?["credential_sid"]?.stringValue)
        let entity = "/v2/Services/\(try answer.text("service_sid"))/Entities/\(try answer.text("identity"))"
        device.factorPath = "\(entity)/Factors/\(device.factor)"
        device.challengesPath = "\(entity)/Challenges"
        return device
    }

    /// Base64 of DER over the factor's SID.
    func proof() throws -> String {
        try key.signature(for: Data(factor.utf8)).derRepresentation.base64EncodedString()
    }

    /// A request's JWT.
    func token(
        nowMs: Int64, header: [String: Any] = [:], payload: [String: Any] = [:],
        key other: P256.Signing.PrivateKey? = nil
    ) throws -> Authorization {
        let now = nowMs / 1000
        var head: [String: Any] = ["typ": "JWT", "alg": "ES256", "cty": "twilio-pba;v=1", "kid": keyID]
        var claims: [String: Any] = ["sub": account, "nbf": now, "exp": now + 600]
        head.merge(header) { $1 }
        claims.merge(payload) { $1 }
        return .basic("token", try Self.jwt(head, claims, key: other ?? key))
    }

    /// The answer to a challenge as read: the advertised members, and the status. Written by Foundation, which escapes
    /// slashes and orders members as it likes, as the iOS SDK does.
    func answer(
        _ read: HTTPAnswer, _ status: String, changing changes: [String: Any] = [:],
        key other: P256.Signing.PrivateKey? = nil, header: [String: Any] = ["alg": "ES256", "typ": "JWT"]
    ) throws -> String {
        let fields = try #require(read.header("Twilio-Verify-Signature-Fields")).components(separatedBy: ",")
        let body = try #require(try JSONSerialization.jsonObject(with: Data(read.bytes)) as? [String: Any])
        var payload: [String: Any] = [:]
        for field in fields {
            #expect(body.keys.contains(field), "each advertised member is in the body, null or not")
            payload[field] = body[field]
        }
        payload["status"] = status
        payload.merge(changes) { $1 }
        return try Self.jwt(header, payload, key: other ?? key)
    }

    static func jwt(_ header: [String: Any], _ payload: [String: Any], key: P256.Signing.PrivateKey) throws -> String {
        func part(_ object: [String: Any]) throws -> String {
            base64URL(try JSONSerialization.data(withJSONObject: object))
        }
        let signed = "\(try part(header)).\(try part(payload))"
        if header["alg"] as? String == "none" { return signed + "." }
        return "\(signed).\(base64URL(try key.signature(for: Data(signed.utf8)).rawRepresentation))"
    }

    static func base64URL(_ data: Data) -> String {
        data.base64EncodedString().replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }
}
