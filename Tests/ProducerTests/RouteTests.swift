import Challenges
import Testing

@testable import Producer

@Suite("The table of routes")
struct RouteTests {
    @Test(
        "paths lead to resources, or nowhere",
        arguments: [
            ("/v2/Services", "/v2/Services", []), ("/v2/Services/VA1", "/v2/Services/{sid}", ["VA1"]),
            ("/v2/%53ervices", "/v2/Services", []),
            ("/v2/Services/VA1/AccessTokens/YK1", "/v2/Services/{sid}/AccessTokens/{sid}", ["VA1", "YK1"]),
            (
                "/v2/Services/VA1/Entities/a%2Db/Factors", "/v2/Services/{sid}/Entities/{identity}/Factors",
                ["VA1", "a-b"]
            ),
            (
                "/v2/Services/VA1/Entities/i%2Fj/Challenges/YC1/Receipts",
                "/v2/Services/{sid}/Entities/{identity}/Challenges/{sid}/Receipts", ["VA1", "i/j", "YC1"]
            ),
            ("/v2/Receipts", "/v2/Receipts", []), ("/v2/HmsReceipts", "/v2/HmsReceipts", []),
            ("/v1/Credentials/CR1", "/v1/Credentials/{sid}", ["CR1"]),
            ("/v2/Services/VA1/Webhooks", "/v2/Services/{sid}/Webhooks", ["VA1"]),
            ("/", nil, []), ("", nil, []), ("v2/Services", nil, []),
            ("/v2/services", nil, []), ("/v2/Services/", nil, []), ("/v2//Services", nil, []),
            ("/v3/Services", nil, []),
            ("/v2/Services/VA1/Entities/i/Challenges/YC1/Receipts/x", nil, []), ("/v2/Services/%zz", nil, []),
            ("/v2/Services/%", nil, []), ("/v2/Services/a%00b", nil, []), ("/v2/Services/a\u{7}b", nil, []),
            ("/v2/Services/%ff", nil, []), ("/v2/Services/VA1/Entities/%C2%85", nil, []),
        ] as [(String, String?, [String])])
    func paths(path: String, template: String?, values: [String]) {
        let match = RouteMatch(path: path[...])
        #expect(match?.route.template == template)
        #expect((match?.values ?? []) == values)
    }

    @Test("each template leads to its own line, and a line has each method once")
    func unambiguous() throws {
        for (index, route) in Route.table.enumerated() {
            let path = route.template.replacing(#/\{[^}]*\}/#, with: "x")
            #expect(RouteMatch(path: path[...])?.index == index, "\(route.template)")
            #expect(Set(route.operations.map(\.method)).count == route.operations.count, "\(route.template)")
        }
    }

    @Test("the values that a handler reads are in its path")
    func values() throws {
        for route in Route.table where route.template.hasPrefix("/v2/Services/{sid}") {
            let segments = route.template.split(separator: "/")
            #expect(segments.firstIndex(of: "{sid}") == 2)
            if let identity = segments.firstIndex(of: "{identity}") { #expect(identity == 4) }
        }
        for route in Route.table {
            let values = route.template.split(separator: "/").filter { $0.hasPrefix("{") }
            if route.subject != .caller { #expect(values.count == 3 && values.last == "{sid}") }
            for operation in route.operations where operation.device.isToken {
                #expect(values.count >= 2 && values[1] == "{identity}", "a device's token belongs to an identity")
                if operation.device == .factorToken { #expect(route.subject == .factor) }
            }
        }
    }

    @Test("a role counts as its parts", arguments: AccountRole.allCases)
    func roles(role: AccountRole) {
        let parts: [(AccountRole, Roles)] = [(.full, .full), (.send, .send), (.enrol, .enrol), (.read, .read)]
        for (part, roles) in parts { #expect(roles.include(role) == role.parts.contains(part)) }
        #expect(!Roles().include(role))
    }
}
