import ChallengeModel
import Wire

/// The JWT of a device's answer: the advertised members of the challenge as the device read them, and `status`.
enum SignedAnswer {
    /// The members that a device signs, in the order of the header `Twilio-Verify-Signature-Fields`.
    static let fields = [
        "sid", "account_sid", "service_sid", "factor_sid", "identity", "date_created", "expiration_date", "details",
        "hidden_details",
    ]

    /// It has no spaces, because the SDKs split at the comma without trimming.
    static let headerValue = fields.joined(separator: ",")

    enum Verdict: Equatable, Sendable {
        case approved
        case denied
        /// The fault, for the caller. It never contains values of the challenge.
        case refused(String)
    }

    /// Compares parsed values, not text, because SDKs write members in another order and escape slashes.
    /// - Parameters:
    ///   - text: the value of `AuthPayload`.
    ///   - publicKey: the public key of the factor that sent the request.
    ///   - representation: the challenge as that factor reads it.
    static func verdict(on text: String, publicKey: [UInt8], representation: JSONValue) -> Verdict {
        guard let jwt = CompactJWT(text) else { return .refused("AuthPayload is not a compact JWT") }
        guard jwt.isES256 else { return .refused("AuthPayload is not signed with ES256") }
        guard jwt.isSigned(by: publicKey) else { return .refused("AuthPayload is not signed by this factor's key") }
        for field in fields {
            guard let signed = jwt.payload[field], let own = representation[field], signed == own else {
                return .refused("\(field) in AuthPayload differs from the challenge")
            }
        }
        switch jwt.payload["status"]?.stringValue {
        case "approved": return .approved
        case "denied": return .denied
        default: return .refused("status in AuthPayload: expected approved or denied")
        }
    }
}
