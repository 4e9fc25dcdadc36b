import ChallengeModel
import Crypto
import Foundation
import NIOSSL
import Wire

/// The rules of provider credentials: what a dispatcher would stumble over is refused here, where someone reads the answer.
enum CredentialRules {
    /// `TeamId`, `KeyId`: Apple's ten capital letters and digits.
    static func appleID(_ text: String, parameter: String) throws(RuleViolation) -> String {
        let isAllowed = text.utf8.allSatisfy {
            TextRules.isDigit($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
        }
        guard isAllowed, text.utf8.count == 10 else {
            throw RuleViolation(parameter, "ten capital letters and digits")
        }
        return text
    }

    /// The text of Apple's .p8 file.
    static func apnsKey(_ text: String) throws(RuleViolation) -> String {
        guard (try? P256.Signing.PrivateKey(pemRepresentation: text)) != nil else {
            throw RuleViolation("PrivateKey", "the text of Apple's .p8 file, a P-256 key in PKCS #8 PEM")
        }
        return text
    }

    /// A TLS client certificate of Apple and its key, in PEM. What stands outside of the markers is cut off.
    static func apnsCertificate(_ text: String, key: String) throws(RuleViolation) -> ApnsCertificate {
        guard let certificate = block(text, ["CERTIFICATE"]),
            let parsed = try? NIOSSLCertificate(bytes: Array(certificate.utf8), format: .pem)
        else {
            throw RuleViolation("Certificate", "a certificate in PEM, BEGIN CERTIFICATE")
        }
        guard let privateKey = block(key, ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]),
            let parsedKey = try? NIOSSLPrivateKey(bytes: Array(privateKey.utf8), format: .pem)
        else {
            throw RuleViolation("PrivateKey", "the certificate's private key in PEM, without a passphrase")
        }
        let configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(parsed)], privateKey: .privateKey(parsedKey))
        guard (try? NIOSSLContext(configuration: configuration)) != nil else {
            throw RuleViolation("PrivateKey", "the private key that belongs to Certificate")
        }
        var secret = ApnsCertificate()
        secret.certificatePem = certificate
        secret.privateKeyPem = privateKey
        return secret
    }

    /// `AppId` of an HMS app: its number.
    static func hmsAppID(_ text: String) throws(RuleViolation) -> String {
        guard (1...32).contains(text.utf8.count), text.utf8.allSatisfy({ TextRules.isDigit($0) }) else {
            throw RuleViolation("AppId", "the app's number, up to 32 digits")
        }
        return text
    }

    /// The first PEM block of one of these labels, with its markers.
    private static func block(_ text: String, _ labels: [String]) -> String? {
        for label in labels {
            if let start = text.range(of: "-----BEGIN \(label)-----"),
                let end = text.range(of: "-----END \(label)-----", range: start.upperBound..<text.endIndex)
            {
                return String(text[start.lowerBound..<end.upperBound]) + "\n"
            }
        }
        return nil
    }

    /// Google's JSON text of a service account.
    static func serviceAccount(_ text: String) throws(RuleViolation) -> FcmServiceAccount {
        let parameter = "ServiceAccount"
        guard let value = try? JSONParser.parse(text), value["type"]?.stringValue == "service_account" else {
            throw RuleViolation(parameter, "the JSON text of Google's key file, with type service_account")
        }
        func member(_ name: String) throws(RuleViolation) -> String {
            guard let text = value[name]?.stringValue, !text.isEmpty, text.utf8.count <= 8192 else {
                throw RuleViolation(parameter, "\(name) as a string in it")
            }
            return text
        }
        let key = try member("private_key")
        guard isPKCS8(key) else {
            throw RuleViolation(parameter, "private_key in it as PKCS #8 PEM, BEGIN PRIVATE KEY")
        }
        var account = FcmServiceAccount()
        account.projectID = try member("project_id")
        account.clientEmail = try member("client_email")
        account.privateKeyID = try member("private_key_id")
        account.privateKeyPem = key
        return account
    }

    /// The frame and the base64 only: what the key is shows when a token is signed with it.
    private static func isPKCS8(_ text: String) -> Bool {
        let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingWhitespace() }.filter { !$0.isEmpty }
        guard lines.count >= 3, lines.first == "-----BEGIN PRIVATE KEY-----",
            lines.last == "-----END PRIVATE KEY-----"
        else { return false }
        return Data(base64Encoded: lines.dropFirst().dropLast().joined()) != nil
    }
}
