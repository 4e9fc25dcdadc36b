import ChallengeModel
import Testing

@Suite("One-time codes")
struct OneTimeCodeTests {
    /// RFC 6238, appendix B, with the seeds of its errata: as long as the hash.
    static let vectors: [(seconds: Int64, sha1: String, sha256: String, sha512: String)] = [
        (59, "94287082", "46119246", "90693936"),
        (1_111_111_109, "07081804", "68084774", "25091201"),
        (1_111_111_111, "14050471", "67062674", "99943326"),
        (1_234_567_890, "89005924", "91819424", "93441116"),
        (2_000_000_000, "69279037", "90698825", "38618901"),
        (20_000_000_000, "65353130", "77737706", "47863826"),
    ]

    static func seed(_ length: Int) -> [UInt8] { (0..<length).map { Array("1234567890".utf8)[$0 % 10] } }

    @Test("the vectors of RFC 6238", arguments: vectors)
    func rfc6238(vector: (seconds: Int64, sha1: String, sha256: String, sha512: String)) {
        for (algorithm, expected) in [
            (OneTimeCode.Algorithm.sha1, vector.sha1), (.sha256, vector.sha256), (.sha512, vector.sha512),
        ] {
            let code = OneTimeCode(algorithm: algorithm, codeLength: 8)
            let step = code.step(atMs: vector.seconds * 1000)
            #expect(code.code(step: step, secret: Self.seed(algorithm.secretLength)) == expected)
        }
    }

    @Test("a code is good within the skew, in its own length, and once")
    func acceptance() {
        let now: Int64 = 1_800_000_000_000
        let secret = Self.seed(20)
        for skew in 0...2 {
            let code = OneTimeCode(skew: skew)
            let current = code.step(atMs: now)
            for distance in -3...3 {
                let text = code.code(step: current + Int64(distance), secret: secret)
                let accepted = code.acceptedStep(of: text, secret: secret, used: -1, nowMs: now)
                #expect(
                    accepted == (abs(distance) <= skew ? current + Int64(distance) : nil), "skew \(skew), \(distance)")
            }
            let text = code.code(step: current, secret: secret)
            #expect(code.acceptedStep(of: text, secret: secret, used: current, nowMs: now) == nil)
            #expect(code.acceptedStep(of: text, secret: secret, used: current - 1, nowMs: now) == current)
            #expect(code.acceptedStep(of: String(text.dropLast()), secret: secret, used: -1, nowMs: now) == nil)
            #expect(code.acceptedStep(of: "", secret: secret, used: -1, nowMs: now) == nil)
        }
    }

    @Test("of all codes of four digits only those of the steps within the skew are good", arguments: [0, 1, 2])
    func everyCode(skew: Int) {
        let rule = OneTimeCode(codeLength: 4, skew: skew)
        for number in 0..<5 {
            let now = 1_800_000_000_000 + Int64(number) * 30_000
            let secret = Self.seed(20 + number)
            let current = rule.step(atMs: now)
            let good = Set((-skew...skew).map { rule.code(step: current + Int64($0), secret: secret) })
            let accepted = (0..<10_000).map { String(String(10_000 + $0).dropFirst()) }
                .filter { rule.acceptedStep(of: $0, secret: secret, used: -1, nowMs: now) != nil }
            #expect(Set(accepted) == good)
        }
    }

    /// RFC 4648, section 10, without its padding.
    @Test(
        "base32",
        arguments: [
            ("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"), ("foobar", "MZXW6YTBOI"),
        ])
    func base32(plain: String, encoded: String) {
        #expect(Base32.encode(plain.utf8) == encoded)
        #expect(Base32.decode(encoded.lowercased()) == Array(plain.utf8))
        #expect(Base32.decode(encoded + "===") == Array(plain.utf8))
    }

    @Test("what is no base32", arguments: ["A", "MZX", "MZXW61", "MZ XQ", "MZXW6YTBOé", "=MY"])
    func notBase32(text: String) {
        #expect(Base32.decode(text) == nil)
    }
}
