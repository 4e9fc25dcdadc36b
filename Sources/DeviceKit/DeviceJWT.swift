import Foundation

/// The two tokens that a device signs, byte for byte as the published SDKs make them.
package enum DeviceJWT {
    /// Seconds from `nbf` to `exp`.
    package static let lifeSeconds: Int64 = 600

    /// The password of a device's requests: header with `cty` and the factor's key id, payload `sub`, `exp`, `nbf`.
    package static func authentication(
        keyID: String, accountSID: String, nowSeconds: Int64, signer: any DeviceSigner
    ) throws -> String {
        let header =
            Array(#"{"typ":"JWT","alg":"ES256","cty":"twilio-pba;v=1","kid":"#.utf8) + JSONTree.quoted(keyID)
            + Array("}".utf8)
        let payload =
            Array(#"{"sub":"#.utf8) + JSONTree.quoted(accountSID)
            + Array(",\"exp\":\(nowSeconds + lifeSeconds),\"nbf\":\(nowSeconds)}".utf8)
        return try token(header: header, payload: payload, signer: signer)
    }

    /// The answer to a challenge: the named values of the fetched JSON, as they stand there, and the status.
    /// - Throws: ``DeviceError/malformedReply(_:)`` when a named field is missing.
    package static func answer(
        json: [UInt8], fields: [String], status: String, signer: any DeviceSigner
    ) throws -> String {
        guard let members = try? JSONTree(parsing: json).members else {
            throw DeviceError.malformedReply("the challenge is not a JSON object")
        }
        var payload = Array("{".utf8)
        for field in fields where field != "status" {
            guard let member = members.first(where: { $0.name == field }) else {
                throw DeviceError.malformedReply("the challenge has no field \(field), which is to be signed")
            }
            payload += JSONTree.quoted(field) + [UInt8(ascii: ":")] + json[member.range] + [UInt8(ascii: ",")]
        }
        payload += Array(#""status":"#.utf8) + JSONTree.quoted(status) + Array("}".utf8)
        return try token(header: Array(#"{"alg":"ES256","typ":"JWT"}"#.utf8), payload: payload, signer: signer)
    }

    /// Compact form: base64url without padding, signature `r ‖ s`.
    package static func token(header: [UInt8], payload: [UInt8], signer: any DeviceSigner) throws -> String {
        let input = base64URL(header) + "." + base64URL(payload)
        return input + "." + base64URL(try signer.sign(Array(input.utf8)).raw)
    }

    package static func base64URL(_ bytes: [UInt8]) -> String {
        var text = Data(bytes).base64EncodedString()
        text = text.replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
        while text.hasSuffix("=") { text.removeLast() }
        return text
    }

    /// Nil when `text` is not base64url without padding.
    package static func bytes(base64URL text: some StringProtocol) -> [UInt8]? {
        guard !text.utf8.contains(where: { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "/") }),
            !text.utf8.contains(UInt8(ascii: "="))
        else { return nil }
        var padded = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        while padded.utf8.count % 4 != 0 { padded += "=" }
        return Data(base64Encoded: padded).map { Array($0) }
    }
}
