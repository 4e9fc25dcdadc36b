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

    @Test("docs/security.md answers thirty questions, each with an answer in one word and something to look at")
    func security() throws {
        let page = pages.root.appending(path: "docs/security.md")
        let sections = try String(contentsOf: page, encoding: .utf8).components(separatedBy: "\n### ").dropFirst()
        #expect(sections.map { $0.prefix { $0 != "." } } == (1...30).map { "\($0)" })
        for section in sections {
            let question = section.prefix { $0 != "\n" }
            #expect(
                ["Yes", "Partly", "No", "Yours"].contains { section.contains("\n\n**\($0)") }, "\(question): no answer")
            // A question without a mechanism (no key exchange of our own, …) says No and why.
            let isShown = section.contains("](") || section.contains("```sh") || section.contains("\n\n**No.**")
            #expect(isShown, "\(question): no test, command or page")
        }
    }

    @Test("a case of the conformance suite that a page quotes stands in the file that the page links")
    func cases() throws {
        var quoted = 0
        for page in try pages.all() {
            let text = try String(contentsOf: page, encoding: .utf8).replacing("\n", with: " ")
            for match in text.matches(of: /the case "(?<name>[^"]+)" in \[[^\]]+\]\((?<path>[^)]+)\)/) {
                quoted += 1
                let file = pages.resolve(String(match.path), from: page)
                let source = try String(contentsOf: file, encoding: .utf8)
                #expect(source.contains("\"\(match.name)\""), "\(pages.name(page)): no case \"\(match.name)\"")
            }
        }
        #expect(quoted > 0)
    }

    @Test("every shell block of the documentation is run by a test, or says why not")
    func commands() throws {
        let runByOthers = [
            // Tests/Conformance/readme.py
            "README.md", "docs/api.md", "docs/devices.md", "docs/moving.md",
            // DrillTests; Tests/Conformance/wire/test_docs.py
            "docs/scaling.md", "docs/sign-in.md",
            // Commands for operators. Tests of these pages compare them with the executable.
            "docs/cli.md", "docs/console.md", "docs/doctor.md",
            // Needs a cluster. The how-to pages show its commands on one machine.
            "docs/operations.md",
        ]
        for page in try pages.all() where !pages.isFollowed(page) && !runByOthers.contains(pages.name(page)) {
            let lines = try String(contentsOf: page, encoding: .utf8).split(
                separator: "\n", omittingEmptySubsequences: false)
            for (before, line) in zip(lines, lines.dropFirst()) where line.contains("```sh") {
                #expect(before.contains("<!-- not run: "), "\(pages.name(page)), the block below: \(before)")
            }
        }
    }

    @Test("pages whose commands are run mark every command with sh")
    func fences() throws {
        let known = ["sh", "text", "json", "swift"]
        for page in try pages.all() where pages.isFollowed(page) {
            let text = try String(contentsOf: page, encoding: .utf8)
            let fences = text.matches(of: /(?m)^ *```(?<language>.*)$/).map { String($0.language) }
            #expect(fences.count % 2 == 0, "\(pages.name(page))")
            for (index, language) in fences.enumerated() {
                #expect(
                    index % 2 == 0 ? known.contains(language) : language.isEmpty, "\(pages.name(page)): \(language)")
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

    /// Whether `scripts/follow` runs the commands of the page, in `FollowedPagesTests`.
    func isFollowed(_ page: URL) -> Bool {
        let name = name(page)
        return name.hasPrefix("docs/howto/")
            || ["docs/tutorial.md", "docs/security.md", "docs/production-checklist.md"].contains(name)
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
