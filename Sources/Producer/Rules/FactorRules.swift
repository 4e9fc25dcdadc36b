import ChallengeModel
import Challenges
import Crypto
import Foundation
import PushProviders
import Wire

/// The rules of a push factor.
enum FactorRules {
    /// `Config.NotificationPlatform`.
    static let platforms: [(key: String, value: Platform)] =
        PushProviders.all.map { (key: $0.word, value: $0.platform) } + [(key: "none", value: .noPush)]

    static func name(of platform: Platform) -> String { platform.word ?? "none" }

    /// `Binding.PublicKey`: base64 of SubjectPublicKeyInfo, DER, an uncompressed point of P-256: 91 bytes, 124
    /// characters.
    static func publicKey(_ text: String) throws(RuleViolation) -> [UInt8] {
        guard let data = Data(base64Encoded: text) else {
            throw RuleViolation(
                "Binding.PublicKey", "standard base64 with padding, of SubjectPublicKeyInfo in DER",
                code: .publicKeyInvalid)
        }
        // The comparison refuses other curves, compressed points and bytes after the key, which a lenient reader
        // accepts.
        guard data.count == 91, let key = try? P256.Signing.PublicKey(derRepresentation: data),
            key.derRepresentation == data
        else {
            throw RuleViolation(
                "Binding.PublicKey", "SubjectPublicKeyInfo in DER of an uncompressed P-256 key, 91 bytes",
                code: .publicKeyInvalid)
        }
        return Array(data)
    }

    /// Reads `Config.NotificationToken` for a platform: 32 to 255 characters in the provider's form.
    /// - Parameter text: nil when none was sent.
    /// - Returns: nil for a platform without pushes.
    static func pushToken(_ text: String?, platform: Platform) throws(RuleViolation) -> String? {
        let parameter = "Config.NotificationToken"
        guard platform != .noPush else {
            guard text == nil || text == "" else {
                throw RuleViolation(parameter, "no token with Config.NotificationPlatform none")
            }
            return nil
        }
        guard let text, !text.isEmpty else {
            throw RuleViolation(parameter, "a token, or Config.NotificationPlatform none")
        }
        guard (32...255).contains(text.utf8.count) else {
            throw RuleViolation(parameter, "32 to 255 characters, got \(text.utf8.count)")
        }
        guard let provider = PushProviders.provider(of: platform) else {
            throw RuleViolation(parameter, "a platform that Beckon pushes to")
        }
        do throws(ParameterFault) {
            return try provider.pushToken(text)
        } catch {
            throw RuleViolation(error)
        }
    }

    /// Checks the device's proof that it holds the key: standard base64 of an ASN.1 DER ECDSA-P256-SHA256 signature
    /// over the UTF-8 bytes of the factor's SID.
    static func isProof(_ text: String, of sid: FactorSID, publicKey: [UInt8]) -> Bool {
        guard let data = Data(base64Encoded: text), let key = try? P256.Signing.PublicKey(derRepresentation: publicKey),
            let signature = try? P256.Signing.ECDSASignature(derRepresentation: data)
        else { return false }
        return key.isValidSignature(signature, for: Data(sid.rawValue.utf8))
    }
}
