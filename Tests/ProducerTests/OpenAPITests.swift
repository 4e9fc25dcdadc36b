import Foundation
import Testing

@testable import Producer

/// Whether what is served is what is described inside is for schemathesis (Tests/Conformance); this is about what there
/// is.
@Suite("docs/openapi.json")
struct OpenAPITests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static func paths() throws -> [String: [String: Any]] {
        let text = try Data(contentsOf: root.appending(path: "docs/openapi.json"))
        let document = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
        return try #require(document["paths"] as? [String: [String: Any]])
    }

    /// Path to methods.
    static func described() throws -> [String: Set<String>] {
        try paths().mapValues { Set($0.keys.map { $0.uppercased() }).intersection(["GET", "POST", "DELETE"]) }
    }

    private static func route(_ path: String) throws -> Route {
        let filled = path.replacingOccurrences(of: #"\{[^}]*\}"#, with: "x", options: .regularExpression)
        return try #require(RouteMatch(path: filled[...]), "\(path) is not served").route
    }

    @Test("each described path is served with exactly the described methods")
    func described() throws {
        for (path, methods) in try Self.described() {
            #expect(Set(try Self.route(path).operations.map(\.method.rawValue)) == methods, "\(path)")
        }
    }

    @Test("each operation is described with the credentials that it takes")
    func credentials() throws {
        for (path, item) in try Self.paths() {
            for operation in try Self.route(path).operations {
                let described = try #require(item[operation.method.rawValue.lowercased()] as? [String: Any])
                let security = try #require(described["security"] as? [[String: Any]])
                var expected: Set<String> = operation.roles.isEmpty ? [] : ["backend"]
                switch operation.device {
                case .identityToken, .factorToken: expected.insert("device")
                case .accessToken: expected.insert("accessToken")
                case .none, .receiptToken, .signature, .open: break
                }
                // A backend is only told that devices confirm.
                if path.hasSuffix("/{ChallengeSid}/Receipts") { expected.remove("backend") }
                #expect(Set(security.flatMap(\.keys)) == expected, "\(operation.method) \(path)")
            }
        }
    }

    @Test("each route is described; scripts/openapi writes the page")
    func complete() throws {
        func anonymous(_ path: String) -> String {
            path.replacingOccurrences(of: #"\{[^}]*\}"#, with: "{}", options: .regularExpression)
        }
        let described = Set(try Self.described().keys.map(anonymous))
        #expect(described == Set(Route.table.map(\.template).map(anonymous)))
    }
}
