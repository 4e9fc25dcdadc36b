import ChallengeModel

/// 64 bits that stand for something in a set. Seeded per process (SipHash), so that nobody outside can make two
/// collide; with three million in a set a wrong hit has a chance of one in 10^12.
enum Fingerprint {
    static func unit(challenge: String, factor: String, dispatch: String, kind: PushKind) -> UInt64 {
        make(kind == .background ? 1 : 0, challenge, factor, dispatch)
    }

    static func challenge(_ challenge: String) -> UInt64 { make(2, challenge) }

    static func device(challenge: String, factor: String) -> UInt64 { make(3, challenge, factor) }

    /// "A dispatch later than this one went to the device": a creation is 0, the tracker's attempt its number.
    static func overtaken(device: UInt64, rank: Int) -> UInt64 { derive(device, 4, rank) }

    /// "The device has had this many background pushes of the challenge."
    static func background(device: UInt64, count: Int) -> UInt64 { derive(device, 5, count) }

    /// A string's hash ends with a byte of its own, so that ("a", "bc") is not ("ab", "c"). No variadic parameter: this
    /// is asked several times per push, and each would be an array.
    private static func make(_ tag: UInt8, _ first: String, _ second: String? = nil, _ third: String? = nil) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(tag)
        hasher.combine(first)
        if let second { hasher.combine(second) }
        if let third { hasher.combine(third) }
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }

    private static func derive(_ base: UInt64, _ tag: UInt8, _ number: Int) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(tag)
        hasher.combine(base)
        hasher.combine(number)
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }
}
