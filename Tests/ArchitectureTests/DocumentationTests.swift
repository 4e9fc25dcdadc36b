import Foundation
import Testing

/// The pages of the documentation: their links, their index, and the answers of the security page.
@Suite("Documentation")
struct DocumentationTests {
    private let pages = DocumentationPages()

    @Test("every link within the repository leads to a file, and its anchor to a heading of that file")
    func links() throws {
        for page in try pages.all() {
            for link in try pages.links(of: page) where !link.isOutside {
                let target = link.path.isEmpty ? page : pages.resolve(link.path, from: page)
                guard FileManager.default.fileExists(atPath: target.path()) else {
                    Issue.record("\(pages.name(page)) links to \(link.path), which does not exist")
                    continue
                }
                guard let anchor = link.anchor, target.pathExtension == "md" else { continue }
                #expect(
                    try pages.anchors(of: target).contains(anchor),
                    "\(pages.name(page)) links to #\(anchor), but \(pages.name(target)) has no such heading")
            }
        }
    }

    @Test("docs/README.md lists every page of docs, except the single decisions")
    func index() throws {
        let index = pages.root.appending(path: "docs/README.md")
        let listed = Set(try pages.links(of: index).map { pages.name(pages.resolve($0.path, from: index)) })
        let all = try pages.all().map(pages.name).filter {
            $0.hasPrefix("docs/") && !$0.hasPrefix("docs/decisions/") && $0 != "docs/README.md"
        }
        #expect(all.count > 15)
        #expect(all.filter { !listed.contains($0) }.sorted() == [], "add these pages to docs/README.md")
    }

    @Test("a link that names a suite of tests leads to the file that declares it")
    func suites() throws {
        for page in try pages.all() {
            for link in try pages.links(of: page) where link.path.hasSuffix("Tests.swift") {
                let name = link.text.trimmingCharacters(in: ["`"])
                let file = pages.resolve(link.path, from: page)
                let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
                #expect(
                    text.contains("struct \(name) ") || text.contains("extension \(name) "),
                    "\(pages.name(page)): \(link.path) declares no suite \(name)")
            }
        }
    }
}

/// The Markdown files of the checkout that this file is compiled from.
private struct DocumentationPages {
    struct Link {
        let text: String
        /// Relative to the page; empty: the page itself.
        let path: String
        let anchor: String?
        var isOutside: Bool { path.contains("://") || path.hasPrefix("mailto:") }
    }

    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// README.md, CHANGELOG.md, and every page below `docs` and `examples`.
    func all() throws -> [URL] {
        let folders = ["docs", "examples"].flatMap { folder in
            let walk = FileManager.default.enumerator(
                at: root.appending(path: folder), includingPropertiesForKeys: nil)
            return walk.map { $0.compactMap { $0 as? URL } } ?? []
        }
        return ["README.md", "CHANGELOG.md"].map { root.appending(path: $0) }
            + folders.filter { $0.pathExtension == "md" }
    }

    /// Relative to the root.
    func name(_ page: URL) -> String {
        let path = page.standardizedFileURL.path()
        let base = root.standardizedFileURL.path()
        return path.hasPrefix(base) ? String(path.dropFirst(base.count)) : path
    }

    func resolve(_ path: String, from page: URL) -> URL {
        page.deletingLastPathComponent().appending(path: path).standardizedFileURL
    }

    func links(of page: URL) throws -> [Link] {
        try prose(of: page).joined(separator: "\n")
            .matches(of: /\[(?<text>[^\]]+)\]\((?<target>[^)\s]+)\)/)
            .map { match in
                let parts = match.target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
                return Link(
                    text: String(match.text), path: String(parts[0]), anchor: parts.count > 1 ? String(parts[1]) : nil)
            }
    }

    /// The anchors of the headings, as GitHub makes them.
    func anchors(of page: URL) throws -> Set<String> {
        var anchors: Set<String> = []
        for line in try prose(of: page) {
            guard let heading = line.firstMatch(of: /^#{1,6} +(?<text>.+)$/)?.text else { continue }
            let text = heading.replacing(/\[(?<text>[^\]]+)\]\([^)]*\)/) { $0.text }
            let anchor = String(
                text.lowercased().unicodeScalars.compactMap { scalar -> Character? in
                    if scalar == " " { return "-" }
                    let isKept =
                        scalar == "-" || scalar == "_" || scalar.properties.isAlphabetic
                        || CharacterSet.decimalDigits.contains(scalar)
                    return isKept ? Character(scalar) : nil
                })
            var unique = anchor
            var number = 0
            while anchors.contains(unique) {
                number += 1
                unique = "\(anchor)-\(number)"
            }
            anchors.insert(unique)
        }
        return anchors
    }

    /// The lines outside of fenced blocks.
    private func prose(of page: URL) throws -> [String] {
        var isCode = false
        return try String(contentsOf: page, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
            .compactMap { line in
                if line.trimmingCharacters(in: .whitespaces).hasPrefix("```") {
                    isCode.toggle()
                    return nil
                }
                return isCode ? nil : String(line)
            }
    }
}
