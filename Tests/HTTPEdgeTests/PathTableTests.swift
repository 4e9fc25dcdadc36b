import Testing

@testable import HTTPEdge

@Suite("Paths and their templates")
struct PathTableTests {
    private let table = PathTable(["/livez", "/a/{x}", "/a/{x}/b/{y}", "/a/{x}/c/{y}"])

    @Test(
        "a path fits one template, and its values come in order",
        arguments: [
            ("/livez", 0, []), ("/a/1", 1, ["1"]), ("/a/1/b/2", 2, ["1", "2"]), ("/a/1/c/2", 3, ["1", "2"]),
            ("/a/b", 1, ["b"]), ("/%61/1", 1, ["1"]), ("/a/%2F", 1, ["/"]),
        ])
    func fits(path: String, index: Int, values: [String]) {
        let match = table.match(path[...]) {
            String($0.replacing("%61", with: "a").replacing("%2F", with: "/"))
        }
        #expect(match == PathTable.Match(index: index, values: values))
    }

    @Test(
        "what fits none is nowhere",
        arguments: [
            "", "/", "a/1", "/a", "/a/", "/a//b/2", "/A/1", "/a/1/d/2", "/a/1/b/2/", "/a/1/b/2/3", "//", "/livez/",
        ])
    func nowhere(path: String) {
        #expect(table.match(path[...]) { String($0) } == nil)
    }

    @Test("a segment that is refused leads nowhere, and one that is decoded is not decoded again")
    func decoding() {
        #expect(table.match("/a/1") { _ in nil } == nil)
        #expect(table.match("/a/%25") { $0.isEmpty ? nil : String($0.replacing("%25", with: "%")) }?.values == ["%"])
        #expect(table.match("/a/%") { _ in "" } == nil, "a value is never empty")
    }
}
