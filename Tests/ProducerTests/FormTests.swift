import Challenges
import Testing
import Wire

@testable import Producer

@Suite("Forms and paths")
struct FormTests {
    @Test(
        "pairs are split at & only, and at the first =",
        arguments: [
            ("", []), ("a=b", [("a", "b")]), ("a=b;c=d", [("a", "b;c=d")]), ("a==", [("a", "=")]), ("a", [("a", "")]),
            ("a=1&&b=2&", [("a", "1"), ("b", "2")]), ("a=x+y%20z%2B", [("a", "x y z+")]),
            ("a=%C3%A9é", [("a", "éé")]), ("a=b/c:d,e?f'", [("a", "b/c:d,e?f'")]), ("%61=b", [("a", "b")]),
            ("=v", [("", "v")]), ("a=1&a=2", [("a", "1"), ("a", "2")]), ("A=1&a=2", [("A", "1"), ("a", "2")]),
        ] as [(String, [(String, String)])])
    func pairs(text: String, expected: [(String, String)]) throws {
        #expect(try Form(text.utf8).pairs == expected.map { Form.Pair(name: $0.0, value: $0.1) })
    }

    @Test(
        "broken escapes and bytes that are no UTF-8 name their parameter",
        arguments: ["%", "%a", "%zz", "%ff", "%c3%28"])
    func broken(value: String) {
        let violation = #expect(throws: RuleViolation.self) { try ParameterReader(reading: "good=1&Bad=\(value)".utf8) }
        #expect(violation?.parameter == "Bad")
    }

    @Test("at most 200 parameters")
    func bound() throws {
        let text = (0..<200).map { "a\($0)=1" }.joined(separator: "&")
        #expect(try Form(text.utf8).pairs.count == 200)
        #expect(throws: RuleViolation("body", "at most 200 parameters")) {
            try ParameterReader(reading: "\(text)&b=1".utf8)
        }
    }

    @Test("single values are read once, lists in order, and the rest is unread")
    func reader() throws {
        var reader = ParameterReader(try Form("a=1&b=2&b=3&c=true&d=7&e=x&e=y&f=True".utf8))
        #expect(try reader.text("a") == "1")
        #expect(try reader.list("b") == ["2", "3"])
        #expect(throws: RuleViolation("e", "one value, it was sent 2 times")) { try reader.text("e") }
        #expect(try reader.boolean("c") == true)
        #expect(try reader.boolean("f") == true)
        #expect(try reader.text("missing") == nil)
        #expect(try reader.integer("d", in: 1...7) == 7)
        #expect(throws: RuleViolation.self) { try reader.integer("d", in: 1...6) }
        #expect(throws: RuleViolation.self) { try reader.integer("a", in: 2...3) }
        var other = ParameterReader(try Form("x=1&y=2&x=3".utf8))
        _ = try other.text("y")
        #expect(other.unread == ["x"])
    }
}
