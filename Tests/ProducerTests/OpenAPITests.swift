import Foundation
import Testing

@testable import Producer

/// Whether what is served is what is described inside is for schemathesis (Tests/Conformance); this is about what there is.
@Suite("docs/openapi.json")
struct OpenAPITests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Path to methods.
    static func described() throws -> [String: Set<String>] {
        let text = try Data(contentsOf: root.appending(path: "docs/openapi.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
        let paths = try #require(document["paths"] as? [String: [String: Any]])
        return paths.mapValues { Set($0.keys.map { $0.uppercased() }).intersection(["GET", "POST", "DELETE"]) }
    }

    @Test("each described path is served with exactly the described methods")
    func described() throws {
        for (path, methods) in try Self.described() {
            let filled = path.replacingOccurrences(of: #"\{[^}]*\}"#, with: "x", options: .regularExpression)
            let route = try #require(Route(path: filled), "\(path) is not served")
            #expect(Set(route.methods) == methods, "\(path)")
        }
    }

    @Test("each route is described; scripts/openapi writes the page")
    func complete() throws {
        // The templates stand in one switch over all routes.
        let source = try String(
            contentsOf: Self.root.appending(path: "Sources/Producer/HTTP/Route.swift"), encoding: .utf8)
        let pattern = #/: "(/v[0-9]/[^"]*)"/#
        let routes = source.matches(of: pattern).map { String($0.output.1) }
        #expect(routes.count > 15)
        func anonymous(_ path: String) -> String {
            path.replacingOccurrences(of: #"\{[^}]*\}"#, with: "{}", options: .regularExpression)
        }
        let described = Set(try Self.described().keys.map(anonymous))
        #expect(described == Set(routes.map(anonymous)))
    }
}
