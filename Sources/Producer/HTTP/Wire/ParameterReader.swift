/// Reads the parameters of a request by name, says precisely what is wrong with one, and knows which were not asked for.
struct ParameterReader {
    private let form: Form
    private var asked: Set<String> = []

    init(_ form: Form) {
        self.form = form
    }

    /// Names that nobody asked for, each once, in the order sent: for the header `Beckon-Ignored`.
    var unread: [String] {
        var seen = asked
        return form.pairs.map(\.name).filter { seen.insert($0).inserted }
    }

    /// Everything that was sent, in order.
    var pairs: [Form.Pair] { form.pairs }

    /// All values of a repeated parameter, in order.
    mutating func list(_ name: String) -> [String] {
        asked.insert(name)
        return form.pairs.filter { $0.name == name }.map(\.value)
    }

    /// Nil when it was not sent. An empty value is a value.
    mutating func text(_ name: String) throws(RuleViolation) -> String? {
        let values = list(name)
        guard values.count <= 1 else {
            throw RuleViolation(name, "one value, it was sent \(values.count) times")
        }
        return values.first
    }

    /// - Parameter length: in Unicode scalars.
    mutating func text(_ name: String, length: ClosedRange<Int>) throws(RuleViolation) -> String? {
        guard let value = try text(name) else { return nil }
        let count = value.unicodeScalars.count
        guard length.contains(count) else {
            throw RuleViolation(
                name, "\(length.lowerBound) to \(length.upperBound) characters, these are \(count)")
        }
        return value
    }

    mutating func required(_ name: String, length: ClosedRange<Int> = 1...Int.max) throws(RuleViolation) -> String {
        guard let value = try text(name), !value.isEmpty || length.lowerBound == 0 else {
            throw RuleViolation(name, "a value, it is required")
        }
        let count = value.unicodeScalars.count
        guard length.contains(count) else {
            throw RuleViolation(
                name, "\(length.lowerBound) to \(length.upperBound) characters, these are \(count)")
        }
        return value
    }

    /// `true` or `false`, in any case: one helper library sends `True`.
    mutating func boolean(_ name: String) throws(RuleViolation) -> Bool? {
        guard let value = try text(name) else { return nil }
        switch value.lowercased() {
        case "true": return true
        case "false": return false
        default: throw RuleViolation(name, "true or false")
        }
    }

    mutating func integer(_ name: String, in range: ClosedRange<Int>) throws(RuleViolation) -> Int? {
        guard let value = try text(name) else { return nil }
        guard let number = Int(value), range.contains(number), !value.hasPrefix("+") else {
            throw RuleViolation(name, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// One of a few words.
    mutating func choice<Value>(
        _ name: String, _ choices: KeyValuePairs<String, Value>
    ) throws(RuleViolation) -> Value? {
        guard let value = try text(name) else { return nil }
        guard let chosen = choices.first(where: { $0.key == value }) else {
            throw RuleViolation(name, "one of " + choices.map(\.key).joined(separator: ", "))
        }
        return chosen.value
    }
}
