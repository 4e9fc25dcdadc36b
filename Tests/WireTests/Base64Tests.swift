import Foundation
import Testing
import Wire

@Suite("Base64 and hexadecimal digits")
struct Base64Tests {
    @Test("every length is written as Foundation writes it, and read back")
    func lengths() {
        for count in 0..<70 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255) }
            let text = Data(bytes).base64EncodedString()
            let url = text.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
            #expect(Base64.encode(bytes) == text && Base64.decode(text) == bytes)
            #expect(bytes.withUnsafeBytes { Base64.encodedBytes($0) } == Array(text.utf8))
            #expect(Base64URL.encode(bytes) == url && Base64URL.decode(url) == bytes)
        }
    }

    @Test("base64url is read without padding only, and a value has one text")
    func strict() {
        #expect(Base64URL.decode("_-8") == [0xFF, 0xEF])
        #expect(Base64URL.encode([0xFF, 0xEF]) == "_-8")
        for bad in ["/+8", "_-8=", "a", "a!bc", "_-9", "QR"] { #expect(Base64URL.decode(bad) == nil, "\(bad)") }
        #expect(Base64.decode("/+8=") == [0xFF, 0xEF])
        for bad in ["_-8=", "/+8", "/+9=", "=", "====", "/+8=\n", "QR=="] {
            #expect(Base64.decode(bad) == nil, "\(bad)")
        }
    }

    @Test("hexadecimal digits")
    func hexadecimal() {
        #expect(Hexadecimal.encode([0x00, 0x0F, 0xA5, 0xFF]) == "000fa5ff")
        #expect(Hexadecimal.encode(0xBEEF as UInt64, digits: 8) == "0000beef")
        #expect(Hexadecimal.random(digits: 33).utf8.count == 33)
        for byte in UInt8.min...UInt8.max {
            let expected = Character(Unicode.Scalar(byte)).isASCII ? Character(Unicode.Scalar(byte)).hexDigitValue : nil
            #expect(Hexadecimal.value(of: byte).map { Int($0) } == expected, "\(byte)")
        }
    }
}
