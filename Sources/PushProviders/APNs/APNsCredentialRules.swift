import ChallengeModel
import Crypto
import Foundation
import NIOSSL

/// The parameters of an APNs credential: a token key (`TeamId`, `KeyId`, `PrivateKey`), or a `Certificate` and its
/// `PrivateKey`; `Sandbox` with both.
enum APNsCredentialRules {
    static func read(
        _ parameters: inout some CredentialParameters
    ) throws(ParameterFault) -> ProviderCredential.OneOf_Secret {
        let sandbox = try parameters.flag("Sandbox") ?? false
        if let text = try parameters.optional("Certificate", .lines) {
            var certificate = try certificate(text, key: try parameters.required("PrivateKey", .lines))
            certificate.sandbox = sandbox
            return .apnsCertificate(certificate)
        }
        var key = ApnsTokenKey()
        key.teamID = try appleID(try parameters.required("TeamId"), parameter: "TeamId")
        key.keyID = try appleID(try parameters.required("KeyId"), parameter: "KeyId")
        key.privateKeyPem = try tokenKey(try parameters.required("PrivateKey", .lines))
        key.sandbox = sandbox
        return .apnsToken(key)
    }

    /// Reads `TeamId` or `KeyId`: ten capital letters and digits.
    static func appleID(_ text: String, parameter: String) throws(ParameterFault) -> String {
        let isAllowed = text.utf8.allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
        }
        guard isAllowed, text.utf8.count == 10 else {
            throw ParameterFault(parameter, "ten capital letters and digits")
        }
        return text
    }

    /// Reads the text of Apple's .p8 file.
    static func tokenKey(_ text: String) throws(ParameterFault) -> String {
        guard (try? P256.Signing.PrivateKey(pemRepresentation: text)) != nil else {
            throw ParameterFault("PrivateKey", "the text of Apple's .p8 file, a P-256 key in PKCS #8 PEM")
        }
        return text
    }

    /// Reads a TLS client certificate from Apple and its key, in PEM. Text outside the markers is removed.
    static func certificate(_ text: String, key: String) throws(ParameterFault) -> ApnsCertificate {
        guard let certificate = block(text, ["CERTIFICATE"]),
            let parsed = try? NIOSSLCertificate(bytes: Array(certificate.utf8), format: .pem)
        else {
            throw ParameterFault("Certificate", "a certificate in PEM, BEGIN CERTIFICATE")
        }
        guard let privateKey = block(key, ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]),
            let parsedKey = try? NIOSSLPrivateKey(bytes: Array(privateKey.utf8), format: .pem)
        else {
            throw ParameterFault("PrivateKey", "the certificate's private key in PEM, without a passphrase")
        }
        let configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(parsed)], privateKey: .privateKey(parsedKey))
        guard (try? NIOSSLContext(configuration: configuration)) != nil else {
            throw ParameterFault("PrivateKey", "the private key that belongs to Certificate")
        }
        var secret = ApnsCertificate()
        secret.certificatePem = certificate
        secret.privateKeyPem = privateKey
        return secret
    }

    /// The first PEM block that has one of these labels, with its markers.
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
}
