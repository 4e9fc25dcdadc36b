import Testing
import Wire

@Suite("Plain text")
struct PlainTextTests {
    @Test("every control character but tab and line ends is refused in lines, and every one in a line")
    func controlCharacters() {
        for value in Array(UInt32(0)...0x1F) + [0x7F] + Array(0x80...0x9F) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            var text = "Grüße"
            text.unicodeScalars.append(scalar)
            text += "x"
            #expect(PlainText.refused(in: text, .line)?.scalar == scalar)
            #expect(PlainText.refused(in: text, .line)?.offset == 7)
            let isLineEnd = [0x09, 0x0A, 0x0D].contains(value)
            #expect((PlainText.refused(in: text, .lines) == nil) == isLineEnd)
        }
    }

    @Test(
        "what people write is allowed",
        arguments: [
            "", "Pay 10 € to Zoë?", "\u{A0}", "ÀÐÿ\u{C2}", "你好", "مرحبا", "👩‍👩‍👧", "\u{200F}", "\u{FEFF}", "\u{10FFFF}",
        ])
    func letters(_ text: String) {
        #expect(PlainText.refused(in: text, .line) == nil)
        #expect(PlainText.refused(in: text, .lines) == nil)
    }

    @Test("the expectation names the character and where it is")
    func expectation() {
        #expect(
            PlainText.expectation(brokenBy: "a\u{0}b", .lines)
                == "text without control characters other than tab and line ends, got U+0000 at byte 1")
        #expect(
            PlainText.expectation(brokenBy: "a\u{85}", .line)
                == "text without control characters, got U+0085 at byte 1")
        #expect(PlainText.expectation(brokenBy: "a\nb", .lines) == nil)
    }
}
