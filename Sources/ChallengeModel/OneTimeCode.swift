import Crypto
public import Foundation

/// Time-based one-time codes, RFC 6238. Pure: the time is a parameter.
public struct OneTimeCode: Sendable, Hashable {
    public enum Algorithm: String, Sendable, CaseIterable {
        case sha1, sha256, sha512

        /// Bytes of a generated secret: the length of the hash, as RFC 6238 requires.
        public var secretLength: Int {
            switch self {
            case .sha1: 20
            case .sha256: 32
            case .sha512: 64
            }
        }
    }

    public var algorithm: Algorithm
    /// Seconds, 20 to 60.
    public var timeStep: Int
    /// Digits, 3 to 8.
    public var codeLength: Int
    /// Number of steps before and after the current one that are also accepted, 0 to 2.
    public var skew: Int

    public init(algorithm: Algorithm = .sha1, timeStep: Int = 30, codeLength: Int = 6, skew: Int = 1) {
        self.algorithm = algorithm
        self.timeStep = timeStep
        self.codeLength = codeLength
        self.skew = skew
    }

    /// The step that a time belongs to.
    public func step(atMs nowMs: Int64) -> Int64 { nowMs / (Int64(timeStep) * 1000) }

    /// The code of one step, with leading zeros.
    public func code(step: Int64, secret: some DataProtocol) -> String {
        let counter = withUnsafeBytes(of: UInt64(bitPattern: step).bigEndian) { Data($0) }
        let key = SymmetricKey(data: Data(secret))
        let hash: [UInt8]
        switch algorithm {
        case .sha1: hash = Array(HMAC<Insecure.SHA1>.authenticationCode(for: counter, using: key))
        case .sha256: hash = Array(HMAC<SHA256>.authenticationCode(for: counter, using: key))
        case .sha512: hash = Array(HMAC<SHA512>.authenticationCode(for: counter, using: key))
        }
        let offset = Int(hash[hash.count - 1] & 15)
        var number = hash[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & 0x7FFF_FFFF
        var digits: [UInt8] = []
        for _ in 0..<codeLength {
            digits.append(UInt8(ascii: "0") + UInt8(number % 10))
            number /= 10
        }
        return String(decoding: digits.reversed(), as: UTF8.self)
    }

    /// The step of a code, among the steps within the skew. Every step is compared, each in constant time.
    /// - Parameter used: the latest accepted step. This step and all steps before it are no longer accepted.
    /// - Returns: nil when the code is wrong, has another length, or was already used.
    public func acceptedStep(of code: String, secret: some DataProtocol, used: Int64, nowMs: Int64) -> Int64? {
        let now = step(atMs: nowMs)
        var accepted: Int64?
        for step in (now - Int64(skew))...(now + Int64(skew)) where step >= 0 {
            let isEqual = HMACComparison.equal(self.code(step: step, secret: secret).utf8, code.utf8)
            if isEqual, step > used, accepted == nil { accepted = step }
        }
        return accepted
    }
}

/// RFC 4648 base32, as authenticator apps read secrets.
public enum Base32 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

    /// Capital letters, without padding.
    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                text.append(alphabet[Int(buffer >> UInt32(bits)) & 31])
            }
            buffer &= (1 << UInt32(bits)) - 1
        }
        if bits > 0 { text.append(alphabet[Int(buffer << UInt32(5 - bits)) & 31]) }
        return String(decoding: text, as: UTF8.self)
    }

    /// Accepts letters in any case, with or without padding.
    /// - Returns: nil for any other character, or an impossible length.
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var digits = Array(text.utf8)
        while digits.last == UInt8(ascii: "=") { digits.removeLast() }
        guard ![1, 3, 6].contains(digits.count % 8) else { return nil }
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for digit in digits {
            let value: UInt8
            switch digit {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = digit - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = digit - UInt8(ascii: "a")
            case UInt8(ascii: "2")...UInt8(ascii: "7"): value = digit - UInt8(ascii: "2") + 26
            default: return nil
            }
            buffer = buffer << 5 | UInt32(value)
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
            }
            buffer &= (1 << UInt32(bits)) - 1
        }
        return bytes
    }
}
