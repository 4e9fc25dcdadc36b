/// What stands around the content of every page.
struct PageFrame: Sendable {
    /// A place of the navigation.
    struct Place: Sendable {
        let path: String
        let name: String
    }

    let places: [Place]
    /// Nil: nobody signs in to this console.
    let reader: Reader?
    let isDevelopment: Bool

    /// - Parameters:
    ///   - path: of the page, which marks its place.
    ///   - isPlain: without navigation, for the pages before somebody has signed in.
    func html(title: String, path: String, isPlain: Bool = false, main: Escaped) -> Escaped {
        .trusted("<!doctype html>\n")
            + tag("html", ["lang": "en"]) {
                tag("head") {
                    tag("meta", ["charset": "utf-8"])
                    tag("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"])
                    tag("meta", ["name": "color-scheme", "content": "light dark"])
                    tag("title") { "\(title) · Beckon" }
                    tag("link", ["rel": "icon", "href": Asset.icon.path])
                    tag("link", ["rel": "stylesheet", "href": Asset.style.path])
                    tag("script", ["type": "module", "src": Asset.script.path]) { "" }
                }
                tag("body") {
                    tag("a", ["class": "skip", "href": "#main"]) { "Skip to the content" }
                    header(path, isPlain)
                    tag("main", ["id": "main", "tabindex": "-1"]) {
                        tag("p", ["id": "said", "class": "said", "role": "status"]) { "" }
                        main
                    }
                    tag("footer") {
                        tag("p") { "Beckon asks a person’s own device and makes sure that the question arrives." }
                    }
                }
            }
    }

    private func header(_ path: String, _ isPlain: Bool) -> Escaped {
        tag("header", ["class": "top"]) {
            tag("a", ["class": "brand", "href": "/"]) {
                Self.bell
                "Beckon"
            }
            if !isPlain {
                tag("nav", ["aria-label": "Pages"]) {
                    tag("ul") {
                        places.map { place in
                            let isHere =
                                place.path == "/" ? path == "/" : path == place.path || path.hasPrefix(place.path + "/")
                            return tag("li") {
                                tag("a", ["href": place.path, "aria-current": isHere ? "page" : nil]) { place.name }
                            }
                        }
                    }
                }
                who
            }
        }
    }

    private var who: Escaped {
        tag("div", ["class": "who"]) {
            if isDevelopment {
                badge(.quiet, "development")
            } else if let reader {
                tag("span") { reader.name }
                badge(reader.mayAct ? .warning : .quiet, reader.mayAct ? "operator" : "viewer")
                if reader.canSignOut { button("Sign out", action: "/sign-out", kind: "link") }
            }
        }
    }

    private static let bell = Escaped.trusted(
        """
        <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" focusable="false"><path fill="currentColor" \
        d="M12 2a6 6 0 0 0-6 6v4.6L4 16v2h16v-2l-2-3.4V8a6 6 0 0 0-6-6Zm0 20a3 3 0 0 0 3-3H9a3 3 0 0 0 3 3Z"/></svg>
        """)
}
