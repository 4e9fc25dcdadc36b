/// The name of a header field: static text, so that neither we nor nghttp2 copy it.
package struct HeaderName: Sendable {
    package let text: StaticString
    /// Sent as a literal that no table may keep: what differs with every push would only push the useful entries out, and
    /// the token is secret. Apple, "Sending notification requests to APNs", says so for all but `authorization`, and so
    /// does RFC 7541 section 7.1.3 for secrets.
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
