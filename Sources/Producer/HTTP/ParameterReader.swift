import ChallengeModel
import Challenges
import Wire

/// Reads the parameters of a request by name, reports faults precisely, and knows the parameters that were not read.
struct ParameterReader {
    private let form: Form
    private let isOfList: Bool
    /// For each pair, whether its name was read.
    private var isRead: [Bool]

    /// - Parameter isOfList: true for the GET of a list: an empty filter counts as omitted.
    init(_ form: Form, isOfList: Bool = false) {
        self.form = form
        self.isOfList = isOfList
        isRead = Array(repeating: false, count: form.pairs.count)
    }

    /// - Throws: ``RuleViolation`` that names the parameter with a broken escape or invalid UTF-8, or that reports more
    ///   than 200 parameters.
    init(reading bytes: some Collection<UInt8>, isOfList: Bool = false) throws(RuleViolation) {
        do {
            self.init(try Form(bytes), isOfList: isOfList)
        } catch {
            let expectation = "UTF-8, with % and two hexadecimal digits for each escaped byte"
            switch error {
            case .tooMany: throw RuleViolation("body", "at most \(Form.maxPairs) parameters")
            case .name: throw RuleViolation("a parameter name", expectation)
            case .value(let name): throw RuleViolation(name, expectation)
            }
        }
    }

    /// Names that were not read, each once, in the order sent, for the header `Beckon-Ignored`.
    var unread: [String] {
        guard isRead.contains(false) else { return [] }
        var seen: Set<String> = []
        return zip(form.pairs, isRead).filter { pair, isRead in !isRead && seen.insert(pair.name).inserted }.map(
            \.0.name)
    }

    /// All pairs, in the order sent.
    var pairs: [Form.Pair] { form.pairs }

    /// All values that were sent under this name, in order.
    private mutating func values(_ name: String, _ shape: PlainText.Shape) throws(RuleViolation) -> [String] {
        var values: [String] = []
        for index in isRead.indices where form.pairs[index].name == name {
            isRead[index] = true
            values.append(form.pairs[index].value)
        }
        for value in values {
            if let expectation = PlainText.expectation(brokenBy: value, shape) {
                throw RuleViolation(name, expectation)
            }
        }
        return values
    }

    /// All values of a repeated parameter, in order. An empty value counts as omitted.
    mutating func list(_ name: String, _ shape: PlainText.Shape = .line) throws(RuleViolation) -> [String] {
        try values(name, shape).filter { !$0.isEmpty }
    }

    /// Whether a repeated parameter was sent once with an empty value.
    mutating func isEmptied(_ name: String) throws(RuleViolation) -> Bool { try values(name, .line) == [""] }

    /// The value; nil when it was not sent. An empty value is a value.
    mutating func text(_ name: String, _ shape: PlainText.Shape = .line) throws(RuleViolation) -> String? {
        let values = try values(name, shape)
        guard values.count <= 1 else {
            throw RuleViolation(name, "one value, it was sent \(values.count) times")
        }
        return isOfList && values.first?.isEmpty == true ? nil : values.first
    }

    /// Nil when it was not sent, or sent empty.
    mutating func filled(_ name: String) throws(RuleViolation) -> String? {
        try text(name).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// - Parameter length: in Unicode scalars.
    mutating func text(
        _ name: String, length: ClosedRange<Int>, _ shape: PlainText.Shape = .line
    ) throws(RuleViolation) -> String? {
        guard let value = try text(name, shape) else { return nil }
        let count = value.unicodeScalars.count
        guard length.contains(count) else {
            throw RuleViolation(
                name, "\(length.lowerBound) to \(length.upperBound) characters, got \(count)")
        }
        return value
    }

    mutating func required(
        _ name: String, length: ClosedRange<Int> = 1...Int.max, _ shape: PlainText.Shape = .line
    ) throws(RuleViolation) -> String {
        guard let value = try text(name, shape), !value.isEmpty || length.lowerBound == 0 else {
            throw RuleViolation(name, "a value, because it is required")
        }
        let count = value.unicodeScalars.count
        guard length.contains(count) else {
            throw RuleViolation(
                name, "\(length.lowerBound) to \(length.upperBound) characters, got \(count)")
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
        try choice(name, among: Array(choices))
    }

    mutating func choice<Value>(
        _ name: String, among choices: [(key: String, value: Value)]
    ) throws(RuleViolation) -> Value? {
        guard let value = try text(name) else { return nil }
        guard let chosen = choices.first(where: { $0.key == value }) else {
            throw RuleViolation(name, "one of " + choices.map(\.key).joined(separator: ", "))
        }
        return chosen.value
    }
}
