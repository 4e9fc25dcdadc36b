import Testing
import Wire

@Suite("Forms and percent-encoding")
struct FormTests {
    @Test("forms escape everything but unreserved characters, and read both spaces")
    func forms() throws {
        let fields = [(name: "Details.Message", value: "1+1 = é&;/?"), (name: "A", value: "")]
        let text = Form.encode(fields)
        #expect(text == "Details.Message=1%2B1%20%3D%20%C3%A9%26%3B%2F%3F&A=")
        let back = try Form(text.utf8).pairs
        #expect(back.map(\.name) == fields.map(\.name) && back.map(\.value) == fields.map(\.value))
        #expect(try Form("a=b+c%20d;e=f&g".utf8).pairs.map(\.value) == ["b c d;e=f", ""])
        #expect(try Form("a=1&A=2&a=3".utf8)["a"] == "1")
        for broken in ["a=%", "a=%2", "a=%zz", "a=%ff"] {
            #expect(throws: Form.Problem.value(name: "a")) { try Form(broken.utf8) }
        }
        #expect(throws: Form.Problem.name) { try Form("a=1&%f=2".utf8) }
    }

    @Test("percent-encoding is read back, and only a form's + is a space")
    func percent() {
        let text = "a b+c/é😀~%"
        #expect(Percent.encode(text) == "a%20b%2Bc%2F%C3%A9%F0%9F%98%80~%25")
        #expect(Percent.decode(Percent.encode(text).utf8, plusIsSpace: false) == text)
        #expect(Percent.decode("a+b%2b".utf8, plusIsSpace: false) == "a+b+")
        #expect(Percent.decode("a+b%2b".utf8, plusIsSpace: true) == "a b+")
    }

    @Test("a query item is found by its exact name")
    func query() {
        let url = "https://h/x?pageToken=no&PageToken=DN%2B1&Page=1#PageToken=no"
        #expect(Form.queryItem("PageToken", of: url) == "DN+1")
        #expect(Form.queryItem("Token", of: url) == nil)
        #expect(Form.queryItem("PageToken", of: "https://h/x") == nil)
    }
}
