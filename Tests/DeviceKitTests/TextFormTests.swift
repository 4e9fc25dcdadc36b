import Testing

@testable import DeviceKit

@Suite("Texts on the wire")
struct TextFormTests {
    @Test("forms escape everything but unreserved characters, and read both spaces")
    func forms() throws {
        let fields = [(name: "Details.Message", value: "1+1 = é&;/?"), (name: "A", value: "")]
        let text = FormEncoding.encode(fields)
        #expect(text == "Details.Message=1%2B1%20%3D%20%C3%A9%26%3B%2F%3F&A=")
        let back = try #require(FormEncoding.decode(text))
        #expect(back.map(\.name) == fields.map(\.name) && back.map(\.value) == fields.map(\.value))
        let raw = try #require(FormEncoding.decode("a=b+c%20d;e=f&g"))
        #expect(raw.map(\.value) == ["b c d;e=f", ""])
        for broken in ["a=%", "a=%2", "a=%zz", "a=%ff"] { #expect(FormEncoding.decode(broken) == nil, "\(broken)") }
    }

    @Test("a query item is found by its exact name")
    func query() {
        let url = "https://h/x?pageToken=no&PageToken=DN%2B1&Page=1#PageToken=no"
        #expect(FormEncoding.queryItem("PageToken", of: url) == "DN+1")
        #expect(FormEncoding.queryItem("Token", of: url) == nil)
        #expect(FormEncoding.queryItem("PageToken", of: "https://h/x") == nil)
    }

    @Test(
        "RFC 3339 times in UTC become epoch milliseconds",
        arguments: [
            ("1970-01-01T00:00:00Z", Int64(0)), ("2015-07-30T20:00:00Z", 1_438_286_400_000),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000), ("2026-11-24T05:36:50.5Z", 1_795_498_610_500),
            ("2026-11-24T05:36:50.123456Z", 1_795_498_610_123),
        ])
    func rfc3339(text: String, milliseconds: Int64) {
        #expect(WireTime.milliseconds(rfc3339: text) == milliseconds)
    }

    @Test(
        "what is not such a time is nil",
        arguments: [
            "", "2015-07-30", "2015-07-30T20:00:00", "2015-07-30T20:00:00+00:00", "2015-13-30T20:00:00Z",
            "2015-07-30 20:00:00Z", "2015-07-30T24:00:00Z", "2015-07-30T20:00:00.Z", "xxxx-07-30T20:00:00Z",
        ])
    func notRFC3339(text: String) { #expect(WireTime.milliseconds(rfc3339: text) == nil) }

    @Test("the header Date becomes epoch seconds")
    func httpDate() {
        #expect(WireTime.seconds(httpDate: "Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777)
        for bad in ["", "Sun, 06 Nov 1994 08:49 GMT", "06 Nov 1994 08:49:37 GMT", "Sun, 06 Nop 1994 08:49:37 GMT"] {
            #expect(WireTime.seconds(httpDate: bad) == nil, "\(bad)")
        }
    }

    @Test(
        "JSON is read strictly",
        arguments: [
            "", "{", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "01", "1.", "-", "+1", "1e", "nul", "\"\\x\"",
            "\"\u{1}\"",
            "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\u+123\"", "[1] 2", "{\"a\":1,\"a\":2}",
            String(repeating: "[", count: 100) + String(repeating: "]", count: 100),
        ])
    func badJSON(text: String) {
        #expect(throws: JSONSyntaxError.self) { try JSONTree(parsing: Array(text.utf8)) }
    }

    @Test("JSON values come out as they are, with their places")
    func goodJSON() throws {
        let text = #" {"a" : [1, -2.5e3 ,"x\"\\\/\b\f\n\r\té😀"], "b":{"c":true,"d":null} ,"e":""} "#
        let bytes = Array(text.utf8)
        let tree = try JSONTree(parsing: bytes)
        #expect(
            tree["a"]
                == .array([.number("1"), .number("-2.5e3"), .string("x\"\\/\u{8}\u{c}\n\r\té😀")]))
        #expect(tree["b"]?["c"] == .bool(true) && tree["b"]?["d"] == .null && tree["e"] == .string(""))
        let member = try #require(tree.members?.first { $0.name == "b" })
        #expect(String(decoding: bytes[member.range], as: UTF8.self) == #"{"c":true,"d":null}"#)
        let list = try #require(tree.members?.first)
        let ranges = try JSONTree.elementRanges(of: bytes, in: list.range)
        #expect(ranges.map { String(decoding: bytes[$0], as: UTF8.self) }.prefix(2) == ["1", "-2.5e3"])
        #expect(try JSONTree(parsing: Array(#""\ud83d\ude00""#.utf8)) == .string("😀"))
        #expect(throws: JSONSyntaxError.self) { try JSONTree(parsing: [0x22, 0xFF, 0x22]) }
    }

    @Test("a quoted text is read back as it was")
    func quoting() throws {
        let text = "a\"b\\c\n\u{1}é😀/"
        #expect(try JSONTree(parsing: JSONTree.quoted(text)) == .string(text))
    }
}
