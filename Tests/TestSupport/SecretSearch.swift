/// Looks for a secret in whatever came out of a system.
public struct SecretSearch: Sendable {
    private let secret: [UInt8]
    private let what: String

    public init(_ secret: String, what: String) {
        self.secret = Array(secret.utf8)
        self.what = what
    }

    /// Whether it stands there by itself: not as part of a longer run of letters and digits, as in a SID, a time or
    /// base64, where it may come about by chance.
    public func isIn(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= secret.count else { return false }
        func isPart(_ index: Int) -> Bool {
            guard bytes.indices.contains(index) else { return false }
            switch bytes[index] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"),
                UInt8(ascii: "+"), UInt8(ascii: "/"):
                return true
            default: return false
            }
        }
        return (0...(bytes.count - secret.count)).contains { start in
            bytes[start] == secret[0] && bytes[start..<(start + secret.count)].elementsEqual(secret)
                && !isPart(start - 1) && !isPart(start + secret.count)
        }
    }

    public func isIn(_ text: String) -> Bool { isIn(Array(text.utf8)) }
}
