import Crypto
import Wire

/// `X-Twilio-Signature`: HMAC-SHA1 under the account's auth token, in base64, as every published helper library checks
/// it.
///
/// The libraries differ in details (repeated names, the order of names that are not ASCII, names of digits only, empty
/// values, white space at the ends), so that a form holds none of these: see ``FormBody``.
public enum TwilioSignature {
    public static let headerName = "X-Twilio-Signature"

    /// Of a form: over the URL and, in the order of the names, each name and value with nothing between.
    /// - Parameters:
    ///   - url: as requested, with its query and without a fragment.
    ///   - parameters: names distinct.
    public static func form(url: String, parameters: [(name: String, value: String)], authToken: String) -> String {
        var message = Array(url.utf8)
        for (name, value) in parameters.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
            message += name.utf8
            message += value.utf8
        }
        return code(message, authToken)
    }

    /// Of any other body: its SHA-256 goes into the query, and the URL alone is signed.
    /// - Returns: path and query to request, and the signature of the whole URL.
    public static func body(
        _ body: [UInt8], url: String, target: String, authToken: String
    ) -> (target: String, signature: String) {
        let digest = Hexadecimal.encode(SHA256.hash(data: body))
        let suffix = (target.utf8.contains(UInt8(ascii: "?")) ? "&" : "?") + "bodySHA256=" + digest
        return (target + suffix, code(Array((url + suffix).utf8), authToken))
    }

    private static func code(_ message: [UInt8], _ authToken: String) -> String {
        let key = SymmetricKey(data: Array(authToken.utf8))
        return HMAC<Insecure.SHA1>.authenticationCode(for: message, using: key).withUnsafeBytes { Base64.encode($0) }
    }
}
