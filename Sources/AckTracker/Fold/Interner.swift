/// Texts that repeat over and over (accounts, services, apps, credentials, providers' words) as small numbers. 0 is "".
struct Interner: Sendable {
    private var texts: [String] = [""]
    private var numbers: [String: UInt32] = ["": 0]

    var count: Int { texts.count }

    /// - Parameter limit: beyond so many texts an unknown one becomes "": for words that others choose.
    mutating func number(of text: String, limit: Int = .max) -> UInt32 {
        if let number = numbers[text] { return number }
        guard texts.count < limit else { return 0 }
        let number = UInt32(texts.count)
        texts.append(text)
        numbers[text] = number
        return number
    }

    subscript(number: UInt32) -> String { texts[Int(number)] }
}
