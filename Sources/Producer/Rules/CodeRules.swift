import ChallengeModel
import Challenges
import Wire

/// The rules of factors of type `totp`.
enum CodeRules {
    /// Seconds for which one code is right.
    static let timeStep = 20...60
    /// Digits.
    static let codeLength = 3...8
    /// Codes before and after the present one that are right too.
    static let skew = 0...2

    /// Reads `AuthPayload`, the code that the person typed.
    static func payload(_ text: String) throws(RuleViolation) -> String {
        guard codeLength.contains(text.utf8.count), text.utf8.allSatisfy({ TextRules.isDigit($0) }) else {
            throw RuleViolation("AuthPayload", "the code, \(codeLength.lowerBound) to \(codeLength.upperBound) digits")
        }
        return text
    }

    /// Nil when it was not sent.
    static func payload(_ parameters: inout ParameterReader) throws(RuleViolation) -> String? {
        try parameters.text("AuthPayload").map { text throws(RuleViolation) in try payload(text) }
    }

    /// Reads `Binding.Secret`: base32 of 10 to 128 bytes.
    static func secret(_ text: String) throws(RuleViolation) -> [UInt8] {
        guard let secret = Base32.decode(text), (10...128).contains(secret.count) else {
            throw RuleViolation("Binding.Secret", "base32 of 10 to 128 bytes, or no value for a new secret")
        }
        return secret
    }

    /// Reads `Config.*`; `unset` has the values of parameters that are not sent.
    static func config(_ parameters: inout ParameterReader, unset: OneTimeCode) throws(RuleViolation) -> OneTimeCode {
        var code = unset
        code.algorithm =
            try parameters.choice("Config.Alg", ["sha1": .sha1, "sha256": .sha256, "sha512": .sha512])
            ?? code.algorithm
        code.timeStep = try parameters.integer("Config.TimeStep", in: timeStep) ?? code.timeStep
        code.codeLength = try parameters.integer("Config.CodeLength", in: codeLength) ?? code.codeLength
        code.skew = try parameters.integer("Config.Skew", in: skew) ?? code.skew
        return code
    }

    /// The URI that authenticator apps read from a QR code, in the key URI format of Google Authenticator.
    static func uri(issuer: String, friendlyName: String, secret: [UInt8], code: OneTimeCode) -> String {
        let issuer = Percent.encode(issuer)
        return
            "otpauth://totp/\(issuer):\(Percent.encode(friendlyName))?secret=\(Base32.encode(secret))&issuer=\(issuer)"
            + "&algorithm=\(code.algorithm.rawValue.uppercased())&digits=\(code.codeLength)&period=\(code.timeStep)"
    }
}

extension ServiceSettings {
    /// `Totp.*` of the service.
    var code: OneTimeCode {
        func number(_ name: String, _ unset: Int) -> Int { value(name).integerValue.map { Int($0) } ?? unset }
        return OneTimeCode(
            timeStep: number("Totp.TimeStep", 30), codeLength: number("Totp.CodeLength", 6),
            skew: number("Totp.Skew", 1))
    }
}
