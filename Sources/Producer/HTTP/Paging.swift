import ChallengeModel
import Challenges
import Crypto
import Foundation
import Wire

/// The requested page, and the `meta` object with the link to the next page.
/// A page token is the store's cursor with an HMAC that binds it to its list. It is opaque and valid for no other list.
struct Paging: Sendable {
    let size: Int
    /// The client's page number, which is only returned.
    let page: Int
    let request: PageRequest
    private let keys: KeyRing
    private let path: String
    private let baseURL: String
    private let filters: [(name: String, value: String)]

    /// Reads `PageSize`, `Page` and `PageToken` (one SDK sends `pageToken`).
    /// - Parameter filters: the filters as they were sent. They are part of the pages' URLs, and the token is bound to
    ///   them.
    /// - Throws: 60373 for a size outside 1 to 1,000, 60374 for a token of another list.
    init(
        _ parameters: inout ParameterReader, call: APICall, filters: [(name: String, value: String?)] = [],
        keys: KeyRing
    ) throws(RuleViolation) {
        do {
            size = try parameters.integer("PageSize", in: 1...1000) ?? 50
        } catch {
            throw error.renamed(code: .pageSize)
        }
        page = try parameters.integer("Page", in: 0...Int(Int32.max)) ?? 0
        self.filters = filters.compactMap { filter in filter.value.map { (filter.name, $0) } }
        self.keys = keys
        path = call.path
        baseURL = call.baseURL
        let upper = try parameters.text("PageToken")
        let lower = try parameters.text("pageToken")
        var cursor: String?
        if let token = upper ?? lower, !token.isEmpty {
            cursor = Self.open(token, keys: keys, list: Self.list(path, self.filters))
            guard cursor != nil else {
                throw RuleViolation("PageToken", "a token from this list's next_page_url", code: .pageToken)
            }
        }
        request = PageRequest(size: size, after: cursor)
    }

    /// The body of a list.
    /// - Parameter key: names the array.
    func body<Item>(_ key: String, _ found: Page<Item>, _ represent: (Item) -> JSONValue) -> JSONValue {
        let next = found.next.map {
            url(page: page + 1, token: Self.seal($0, keys: keys, list: Self.list(path, filters)))
        }
        return .object([
            (key, .array(found.items.map(represent))),
            (
                "meta",
                .object([
                    ("page", .integer(Int64(page))), ("page_size", .integer(Int64(size))),
                    ("first_page_url", .string(url(page: 0, token: nil))), ("previous_page_url", .null),
                    ("url", .string(url(page: page, token: nil))), ("next_page_url", .optional(next)),
                    ("key", .string(key)),
                ])
            ),
        ])
    }

    private func url(page: Int, token: String?) -> String {
        var query = filters.map { "\($0.name)=\(Percent.encode($0.value))&" }.joined()
        query += "PageSize=\(size)&Page=\(page)"
        if let token { query += "&PageToken=\(token)" }
        return "\(baseURL)\(path)?\(query)"
    }

    // MARK: - Tokens

    private static func list(_ path: String, _ filters: [(name: String, value: String)]) -> [UInt8] {
        Array((path + filters.map { "\n\($0.name)=\($0.value)" }.joined()).utf8)
    }

    private static func seal(_ cursor: String, keys: KeyRing, list: [UInt8]) -> String {
        let bytes = Array(cursor.utf8)
        return "DN" + Base64URL.encode(code(bytes, key: keys.first, list: list) + bytes)
    }

    private static func open(_ token: String, keys: KeyRing, list: [UInt8]) -> String? {
        guard token.hasPrefix("DN"), token.utf8.count <= 1024, let bytes = Base64URL.decode(token.dropFirst(2)),
            bytes.count > 12
        else { return nil }
        let cursor = Array(bytes.dropFirst(12))
        let isOurs = keys.keys.contains { code(cursor, key: $0, list: list) == Array(bytes.prefix(12)) }
        return isOurs ? String(validating: cursor, as: UTF8.self) : nil
    }

    /// The HMAC protects no secret. It only detects tokens of another list, and invented tokens.
    private static func code(_ cursor: [UInt8], key: KeyRing.Key, list: [UInt8]) -> [UInt8] {
        var authenticator = HMAC<SHA256>(key: key.material)
        authenticator.update(data: Array("beckon page token\n".utf8))
        authenticator.update(data: list)
        authenticator.update(data: [0])
        authenticator.update(data: cursor)
        return Array(authenticator.finalize().prefix(12))
    }
}
