/// The name of a header field. It is static text, so that neither this module nor nghttp2 copies it.
package struct HeaderName: Sendable {
    package let text: StaticString
    /// True when the field is sent as a literal that HPACK tables must not store. Values that differ with every push
    /// would only evict useful entries, and the token is secret. Sources: Apple, "Sending notification requests to
    /// APNs", for all fields except `authorization`; RFC 7541 section 7.1.3 for secrets.
    package let isNeverIndexed: Bool

    /// - Parameter text: 1 to 255 lower-case characters.
    package init(_ text: StaticString, isNeverIndexed: Bool = false) {
        self.text = text
        self.isNeverIndexed = isNeverIndexed
    }

    package static var method: HeaderName { HeaderName(":method") }
    package static var scheme: HeaderName { HeaderName(":scheme") }
    package static var authority: HeaderName { HeaderName(":authority") }
    package static var path: HeaderName { HeaderName(":path", isNeverIndexed: true) }
    package static var authorization: HeaderName { HeaderName("authorization", isNeverIndexed: true) }
    package static var contentType: HeaderName { HeaderName("content-type") }
}
