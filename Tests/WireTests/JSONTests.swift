import Foundation
import Testing
import Wire

@Suite("JSON")
struct JSONTests {
    @Test(
        "JSON is read strictly and written the same every time",
        arguments: [
            (#"{"a":[1,-2,true,false,null,"x"],"b":{}}"#, #"{"a":[1,-2,true,false,null,"x"],"b":{}}"#),
            (#" { "a" : "\/\u00e9\n\"\\" } "#, #"{"a":"/é\n\"\\"}"#), (#""\ud83d\ude00""#, "\"😀\""),
            ("1.50", "1.50"), ("12345678901234567890", "12345678901234567890"), (#""\u000d\t""#, #""\r\t""#),
        ])
    func json(text: String, written: String) throws {
        #expect(try JSONParser.parse(text).text == written)
        #expect(try JSONParser.parse(text, .reply).text == written)
    }

    private static let notJSON = [
        "", "{", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{'a':1}", "{\"a\":1}x", "01", "1.", "-", "1e", "nul",
        "+1",
        "[1 2]", "[1] 2", "\"\n\"", "\"\u{1}\"", #""\ud800""#, #""\ud800\u0041""#, #""\u+123""#, #""\x""#, #""a"#,
        #""\"#,
        #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":2}"#,
        String(repeating: "[", count: 100) + String(repeating: "]", count: 100),
    ]

    @Test("what is no JSON is refused", arguments: notJSON)
    func badJSON(text: String) {
        #expect(throws: JSONProblem.self) { try JSONParser.parse(text) }
        #expect(throws: JSONProblem.self) { try JSONParser.parse(text, .reply) }
    }

    @Test("an API of ours takes fewer levels than a reply may have, and no control characters")
    func rules() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(throws: Never.self) { try JSONParser.parse(nested(16)) }
        #expect(throws: JSONProblem.self) { try JSONParser.parse(nested(17)) }
        #expect(throws: Never.self) { try JSONParser.parse(nested(32), .reply) }
        #expect(throws: JSONProblem.self) { try JSONParser.parse(nested(33), .reply) }
        for text in [#""\u0001""#, #""\u0000""#, "\"a\u{7f}\"", #""\u0085""#] {
            #expect(throws: JSONProblem.self) { try JSONParser.parse(text) }
            #expect(throws: Never.self) { try JSONParser.parse(text, .reply) }
        }
    }

    @Test("invalid UTF-8 is refused, in a text with an escape as in one without")
    func invalidUTF8() {
        #expect(throws: JSONProblem.self) { try JSONParser.parse([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONProblem.self) { try JSONParser.parse([0x22, 0x5C, 0x6E, 0xFF, 0x22]) }
        #expect(throws: JSONProblem.self) { try JSONParser.parse([0x22, 0xC3, 0x22], .reply) }
    }

    @Test("a name that stands twice is found in large objects too, and names are compared byte by byte")
    func names() throws {
        let members = (0..<40).map { #""n\#($0)":\#($0)"# }
        let text = "{\(members.joined(separator: ","))}"
        #expect(try JSONParser.parse(text)["n39"]?.integerValue == 39)
        for double in [0, 15, 16, 39] {
            #expect(throws: JSONProblem.self) {
                try JSONParser.parse("{\(members.joined(separator: ",")),\"n\(double)\":1}")
            }
        }
        let composed = try JSONParser.parse("{\"\u{e9}\":1,\"e\u{301}\":2}")
        #expect(composed["\u{e9}"]?.integerValue == 1 && composed["e\u{301}"]?.integerValue == 2)
    }

    @Test("values compare as parsed: order of members counts for nothing, every scalar counts")
    func equality() throws {
        #expect(try JSONParser.parse(#"{"a":1,"b":"x/y"}"#) == JSONParser.parse(#"{"b":"x\/y","a":1}"#))
        #expect(try JSONParser.parse(#"{"a":1}"#) != JSONParser.parse(#"{"a":1,"b":null}"#))
        #expect(try JSONParser.parse("[1,2]") != JSONParser.parse("[2,1]"))
        #expect(try JSONParser.parse(#""1""#) != JSONParser.parse("1"))
        #expect(JSONValue.string("\u{e9}") != .string("e\u{301}"), "composed and decomposed are two texts to sign")
    }

    @Test("JSON values come out as they are, with their places")
    func places() throws {
        let text = #" {"a" : [1, -2.5e3 ,"x\"\\\/\b\f\n\r\té😀"], "b":{"c":true,"d":null} ,"e":""} "#
        let bytes = Array(text.utf8)
        let tree = try JSONParser.parse(bytes, .reply)
        #expect(
            tree["a"]
                == .array([.integer(1), .number("-2.5e3"), .string("x\"\\/\u{8}\u{c}\n\r\té😀")]))
        #expect(tree["b"]?["c"] == .boolean(true) && tree["b"]?["d"] == .null && tree["e"] == .string(""))
        let places = try JSONParser.memberRanges(of: bytes)
        #expect(places.map(\.name) == ["a", "b", "e"])
        #expect(String(decoding: bytes[places[1].range], as: UTF8.self) == #"{"c":true,"d":null}"#)
        let ranges = try JSONParser.elementRanges(of: bytes, in: places[0].range)
        #expect(ranges.map { String(decoding: bytes[$0], as: UTF8.self) }.prefix(2) == ["1", "-2.5e3"])
        let inner = try JSONParser.memberRanges(of: bytes, in: places[1].range)
        #expect(inner.map { String(decoding: bytes[$0.range], as: UTF8.self) } == ["true", "null"])
        #expect(throws: JSONProblem.self) { try JSONParser.memberRanges(of: bytes, in: places[0].range) }
        #expect(throws: JSONProblem.self) { try JSONParser.elementRanges(of: bytes) }
    }

    @Test("a text is escaped no more than it must be, and read back as it was")
    func escaping() throws {
        let text = "a\"b\\c\n\r\t\u{1}\u{1f}é😀/\u{7f}"
        #expect(JSONText.quoted(text) == "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001fé😀/\u{7f}\"")
        #expect(try JSONParser.parse(JSONText.quoted(text), .reply) == .string(text))
        for scalar in (0...0x2FF).compactMap(Unicode.Scalar.init) {
            let quoted = JSONText.quoted(String(Character(scalar)))
            #expect(try JSONDecoder().decode(String.self, from: Data(quoted.utf8)).unicodeScalars.first == scalar)
            let bytes = Array(String(Character(scalar)).utf8)
            #expect(JSONText.size(of: bytes) == quoted.utf8.count - 2)
        }
    }
}
