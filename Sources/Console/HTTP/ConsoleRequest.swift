import HTTPTypes
import NIOCore
import Wire

/// A request as the pages see it.
struct ConsoleRequest: Sendable {
    /// Without the query.
    let path: String
    let query: Form
    /// Of a POST.
    let form: Form
    /// What the path's braces stand for, in order.
    let values: [String]
    let reader: Reader
    /// The value of `If-None-Match`.
    let tag: String?
    /// Whether only the live part of the page is asked for.
    let wantsFragment: Bool
    let nowMs: Int64

    /// A field of the form without white space at its ends; nil: it is missing or empty.
    func field(_ name: String) -> String? { Self.trimmed(form[name]) }

    /// An item of the query without white space at its ends; nil: it is missing or empty.
    func item(_ name: String) -> String? { Self.trimmed(query[name]) }

    private static func trimmed(_ text: String?) -> String? {
        guard var text = text.map({ $0[...] }) else { return nil }
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text.isEmpty ? nil : String(text)
    }

    /// How long the caller wants to wait for a change, in seconds: `wait` in the query, at most `most`.
    func wait(atMost most: Int) -> Duration {
        .seconds(min(max(item("wait").flatMap { Int($0) } ?? 0, 0), most))
    }
}

/// A reply to one.
struct ConsoleReply: Sendable {
    var status = 200
    var type = "text/html; charset=utf-8"
    var headers: [(name: String, value: String)] = []
    var body = ""
    /// Makes the next part of the rest of the body, and nil at the end; nil: ``body`` is all. When it throws, the
    /// connection ends before the reply does, so that the client sees that a part is missing.
    var rest: (@Sendable () async throws -> String?)?

    static func html(_ page: Escaped, status: Int = 200) -> ConsoleReply {
        ConsoleReply(status: status, body: page.html)
    }

    static func json(_ value: JSONValue, status: Int = 200) -> ConsoleReply {
        ConsoleReply(status: status, type: "application/json", body: value.text + "\n")
    }

    static func text(_ text: String, status: Int) -> ConsoleReply {
        ConsoleReply(status: status, type: "text/plain; charset=utf-8", body: text + "\n")
    }

    static func redirect(_ path: String) -> ConsoleReply {
        ConsoleReply(status: 303, type: "text/plain; charset=utf-8", headers: [("Location", path)])
    }
}

/// A refusal that a person reads.
struct ConsoleRefusal: Error {
    var status: Int
    /// Plain English: what is wrong, and what would be right.
    var message: String
    var headers: [(name: String, value: String)] = []

    static let notFound = ConsoleRefusal(status: 404, message: "There is no such page. Use the links above.")
}
