import Testing

@testable import Console

@Suite("HTML is escaped")
struct EscapedTests {
    @Test(
        "what has a meaning in HTML is escaped, everything else is not",
        arguments: [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"), ("a & b", "a &amp; b"),
            ("\"'", "&quot;&#39;"), ("Zürich ✓ 👍🏽", "Zürich ✓ 👍🏽"), ("", ""), ("&lt;", "&amp;lt;"),
        ])
    func texts(_ text: String, _ html: String) {
        #expect(Escaped(text).html == html)
    }

    @Test("a text is escaped as content and as an attribute; nil leaves the attribute out")
    func elements() {
        let element = tag("a", ["href": "/x?a=\"&b", "title": nil, "hidden": ""]) {
            "<b>"
            tag("i") { "ok" }
        }
        #expect(element.html == "<a href=\"/x?a=&quot;&amp;b\" hidden>&lt;b&gt;<i>ok</i></a>")
    }

    @Test("a page carries no style and no script of its own, which its policy forbids")
    func policy() {
        let html = PageFrame(places: [], reader: nil, isDevelopment: true)
            .html(title: "<T>", path: "/", main: tag("p") { "x" }).html
        #expect(html.contains("<title>&lt;T&gt; · Beckon</title>"))
        for word in [" style=", "<style", " onclick", "javascript:"] { #expect(!html.contains(word), "\(word)") }
        #expect(html.ranges(of: "<script").count == 1 && html.contains("src=\"\(Asset.script.path)\""))
    }

    @Test(
        "spans and counts are words",
        arguments: [
            (Words.span(40), "40 ms"), (Words.span(12_000), "12 s"), (Words.span(180_000), "3 min"),
            (Words.distance(-5000), "in 5 s"), (Words.distance(10), "just now"), (Words.count(1_234_567), "1,234,567"),
            (Words.count(999), "999"), (Words.count(0), "0"), (Words.count(1, "push", "pushes"), "1 push"),
            (Words.seconds(0.0008), "0.8 ms"), (Words.seconds(0.25), "250 ms"), (Words.seconds(1.25), "1.3 s"),
        ])
    func words(_ got: String, _ expected: String) {
        #expect(got == expected)
    }
}
