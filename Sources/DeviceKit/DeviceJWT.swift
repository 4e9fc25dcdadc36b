import Wire

/// The two tokens that a device signs, byte for byte like those of the published SDKs.
package enum DeviceJWT {
    /// Seconds from `nbf` to `exp`.
    package static let lifeSeconds: Int64 = 600

    /// The password of a device's requests: header with `cty` and the factor's key id, payload `sub`, `exp`, `nbf`.
    package static func authentication(
        keyID: String, accountSID: String, nowSeconds: Int64, signer: any DeviceSigner
    ) throws -> String {
        let header = JSONValue.object([
            ("typ", .string("JWT")), ("alg", .string("ES256")), ("cty", .string("twilio-pba;v=1")),
            ("kid", .string(keyID)),
        ])
        let payload = JSONValue.object([
            ("sub", .string(accountSID)), ("exp", .integer(nowSeconds + lifeSeconds)), ("nbf", .integer(nowSeconds)),
        ])
        return try CompactJWT.signed(header: header.bytes, payload: payload.bytes) { try signer.sign($0).raw }
    }

    /// The answer to a challenge: the named values, unchanged from the fetched JSON, and the status.
    /// - Throws: ``DeviceError/malformedReply(_:)`` when a named field is missing.
    package static func answer(
        json: [UInt8], fields: [String], status: String, signer: any DeviceSigner
    ) throws -> String {
        guard let members = try? JSONParser.memberRanges(of: json) else {
            throw DeviceError.malformedReply("the challenge is not a JSON object")
        }
        var payload = JSONWriter(capacity: json.count)
        payload.raw("{")
        for field in fields where field != "status" {
            guard let member = members.first(where: { $0.name == field }) else {
                throw DeviceError.malformedReply("the challenge has no field \(field), which is to be signed")
            }
            payload.name(field)
            payload.raw(json[member.range])
            payload.raw(",")
        }
        payload.name("status")
        payload.string(status)
        payload.raw("}")
        return try CompactJWT.signed(header: Array(#"{"alg":"ES256","typ":"JWT"}"#.utf8), payload: payload.bytes) {
            try signer.sign($0).raw
        }
    }
}
