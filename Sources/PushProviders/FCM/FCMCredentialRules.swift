import ChallengeModel
import Foundation

/// The parameter of an FCM credential.
enum FCMCredentialRules {
    /// Reads Google's JSON text of a service account.
    static func serviceAccount(_ text: String) throws(ParameterFault) -> FcmServiceAccount {
        let parameter = "ServiceAccount"
        let value = (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any]
        guard let value, value["type"] as? String == "service_account" else {
            throw ParameterFault(parameter, "the JSON text of Google's key file, with type service_account")
        }
        func member(_ name: String) throws(ParameterFault) -> String {
            guard let text = value[name] as? String, !text.isEmpty, text.utf8.count <= 8192 else {
                throw ParameterFault(parameter, "JSON text that contains \(name) as a string")
            }
            return text
        }
        let key = try member("private_key")
        guard isPKCS8(key) else {
            throw ParameterFault(parameter, "JSON text that contains private_key as PKCS #8 PEM, BEGIN PRIVATE KEY")
        }
        var account = FcmServiceAccount()
        account.projectID = try member("project_id")
        account.clientEmail = try member("client_email")
        account.privateKeyID = try member("private_key_id")
        account.privateKeyPem = key
        return account
    }

    /// Checks only the PEM markers and the base64. The key itself is checked when a token is signed with it.
    private static func isPKCS8(_ text: String) -> Bool {
        let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.isEmpty }
        guard lines.count >= 3, lines.first == "-----BEGIN PRIVATE KEY-----",
            lines.last == "-----END PRIVATE KEY-----"
        else { return false }
        return Data(base64Encoded: lines.dropFirst().dropLast().joined()) != nil
    }
}
