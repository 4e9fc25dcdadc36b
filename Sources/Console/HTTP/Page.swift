/// The content of a page: a part that stands still, and a part that the script replaces while the page is open.
struct Page: Sendable {
    var title: String
    /// Above the live part: headings, forms.
    var still = Escaped.nothing
    var live: Escaped?
    /// How often the script asks for the live part, in milliseconds.
    var everyMs = 2000
    /// Whether the server holds the request until something changes, see ``PhoneDesk``.
    var waits = false
    /// Counts changes of what the live part shows; part of its tag.
    var version = 0
    /// Below the live part.
    var after = Escaped.nothing
    var status = 200

    var main: Escaped {
        still
            + (live.map { live in
                tag(
                    "div",
                    [
                        "id": "live", "data-live": String(everyMs), "data-wait": waits ? "" : nil,
                        "data-tag": fragmentTag,
                    ]
                ) { live }
            } ?? .nothing) + after
    }

    /// Changes with the live part.
    var fragmentTag: String {
        // FNV-1a, because the tag must be the same in every process.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in (live ?? .nothing).html.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return "\"\(version)-\(String(hash, radix: 16))\""
    }

    /// The version in a tag that a client sent back.
    static func version(of tag: String?) -> Int? {
        tag.flatMap { Int($0.drop { $0 == "\"" }.prefix { $0 != "-" }) }
    }
}

/// What a handler answers.
enum Answer: Sendable {
    case page(Page)
    case reply(ConsoleReply)
    /// An act is done: a sentence for the person, and the page to go back to.
    case done(String, path: String)
}

/// A path of the console.
struct ConsoleRoute: Sendable {
    typealias Handler = @Sendable (ConsoleRequest) async throws -> Answer

    let path: String
    /// Its name in the navigation; nil: it is not there.
    var name: String?
    var get: Handler?
    var post: Handler?
    /// Whether a GET may be held until something changes.
    var waits = false

    /// The first page. Its address is `/`, which a table of templates cannot hold.
    static let home = "/overview"

    var place: PageFrame.Place? { name.map { PageFrame.Place(path: path == Self.home ? "/" : path, name: $0) } }
}
