import Foundation

/// The parts of a JSON Web Token that are the same for both kinds of key.
enum JWT {
    /// Base64url without padding: RFC 7515 section 2.
    static func base64URL(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    /// `header.claims`, ready to be signed.
    static func signingInput(header: [String: Any], claims: [String: Any]) throws -> String {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        let first = try JSONSerialization.data(withJSONObject: header, options: options)
        let second = try JSONSerialization.data(withJSONObject: claims, options: options)
        return base64URL(first) + "." + base64URL(second)
    }
}
