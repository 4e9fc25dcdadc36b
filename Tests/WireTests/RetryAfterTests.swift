import Testing
import Wire

@Suite("The header Retry-After")
struct RetryAfterTests {
    /// 2027-01-15T08:00:00Z
    private static let nowMs: Int64 = 1_800_000_000_000

    @Test(
        "both of its forms are read, and a wait is at most a day",
        arguments: [
            ("0", Int64?.some(0)), ("120", 120_000), (" 120", 120_000), ("999999999", 86_400_000),
            ("Fri, 15 Jan 2027 08:00:30 GMT", 30_000), ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
            ("Sun, 17 Jan 2027 08:00:00 GMT", 86_400_000), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400_000),
            ("9223372036854775807", 86_400_000),
        ])
    func forms(text: String, expected: Int64?) {
        #expect(RetryAfter.milliseconds(text.utf8, nowMs: Self.nowMs) == expected)
    }

    @Test(
        "another text is nil",
        arguments: [
            "", " ", "soon", "-1", "1.5", "9223372036854775808", "-9223372036854775808",
            "Fri, 32 Jan 2027 08:00:30 GMT", "Fri, 15 Foo 2027 08:00:30 GMT",
            // Hours beyond all reason once ended the process, and its successors'.
            "Fri, 15 Jan 2027 9223372036854775807:00:00 GMT", "Fri, 15 Jan 2027 -9223372036854775808:00:00 GMT",
            "Fri, 15 Jan 2027 -1:00:00 GMT", "Fri, 15 Jan 2027 08:-1:00 GMT", "Fri, 15 Jan 2027 08:00:x:30 GMT",
            "Fri, 15 Jan 9223372036854775807 08:00:30 GMT",
        ])
    func others(text: String) { #expect(RetryAfter.milliseconds(text.utf8, nowMs: Self.nowMs) == nil) }

    @Test("the caller chooses the longest wait")
    func most() {
        let year = Duration.seconds(31_536_000)
        for text in ["31536001", "9223372036854775807", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            #expect(RetryAfter.milliseconds(text.utf8, nowMs: Self.nowMs, most: year) == 31_536_000_000)
        }
        #expect(RetryAfter.milliseconds("31535999".utf8, nowMs: Self.nowMs, most: year) == 31_535_999_000)
        #expect(RetryAfter.milliseconds("7".utf8, nowMs: Self.nowMs, most: .seconds(5)) == 5000)
    }

    @Test("a clock that shows any time is compared with the date")
    func clocks() {
        let text = "Fri, 15 Jan 2027 08:00:00 GMT"
        #expect(RetryAfter.milliseconds(text.utf8, nowMs: .min) == 86_400_000)
        #expect(RetryAfter.milliseconds(text.utf8, nowMs: .max) == 0)
        #expect(RetryAfter.milliseconds(text.utf8, nowMs: Self.nowMs - 1) == 1)
    }

    @Test("bytes that are not UTF-8 are another text")
    func bytes() { #expect(RetryAfter.milliseconds([0xFF, 0x31] as [UInt8], nowMs: Self.nowMs) == nil) }
}
