import Wire

/// An act on many things at once, which a form names. Above a number of them the person types how many there are, so that
/// nobody does by accident to hundreds what they meant for one.
enum ManyAtOnce {
    /// More than this need the number typed.
    private static let confirmedAbove = 20

    /// The field for the number; nothing, when it is not needed.
    static func confirmation(of count: Int) -> Escaped {
        guard count > confirmedAbove else { return .nothing }
        return field("For more than \(confirmedAbove), type their number", id: "count") {
            tag("input", ["id": "count", "name": "count", "inputmode": "numeric", "size": "5"])
        }
    }

    /// What the form's fields with this name say, each once, in their order.
    /// - Parameters:
    ///   - thing: for messages: `record`.
    ///   - most: more are refused.
    /// - Throws: ``ConsoleRefusal``: none, too many, or their number is not typed.
    static func chosen(_ name: String, in request: ConsoleRequest, _ thing: String, atMost most: Int) throws -> [String]
    {
        var chosen: [String] = []
        for pair in request.form.pairs where pair.name == name && !chosen.contains(pair.value) {
            chosen.append(pair.value)
        }
        guard !chosen.isEmpty else { throw ConsoleRefusal(status: 400, message: "Mark at least one \(thing).") }
        guard chosen.count <= most else {
            throw ConsoleRefusal(status: 400, message: "At most \(most) \(thing)s at once.")
        }
        guard chosen.count <= confirmedAbove || request.field("count") == String(chosen.count) else {
            throw ConsoleRefusal(
                status: 400,
                message: "These are \(chosen.count) \(thing)s: type this number, so that it is no accident.")
        }
        return chosen
    }
}
