/// A file of the console. It is part of the program, so nothing has to be installed beside it. Its path holds a hash of
/// its content, so browsers may keep it.
struct Asset: Sendable {
    let path: String
    let type: String
    let content: String

    private init(_ name: String, type: String, content: String) {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in content.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        path = "/assets/\(String(hash, radix: 36))/\(name)"
        self.type = type
        self.content = content
    }

    static let script = Asset("console.js", type: "text/javascript; charset=utf-8", content: Script.text)
    static let style = Asset("console.css", type: "text/css; charset=utf-8", content: Style.text)
    static let icon = Asset(
        "bell.svg", type: "image/svg+xml",
        content: """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#2f6fed" d="M12 2a6 6 0 0 0-6 \
            6v4.6L4 16v2h16v-2l-2-3.4V8a6 6 0 0 0-6-6Zm0 20a3 3 0 0 0 3-3H9a3 3 0 0 0 3 3Z"/></svg>
            """)
    static let all = [script, style, icon]

    var reply: ConsoleReply {
        ConsoleReply(
            type: type, headers: [("Cache-Control", "public, max-age=31536000, immutable")], body: content)
    }
}
