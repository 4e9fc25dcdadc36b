import Foundation
import Testing

/// Compares the imports of every file under `Sources` with the table "Allowed imports" of `docs/architecture.md`.
@Suite("Allowed imports")
struct AllowedImportsTests {
    private let tree = SourceTree()

    @Test("every module of Sources and of Package.swift has a row, and every row has its module")
    func rows() throws {
        let table = try tree.allowedImports()
        #expect(table.count == Set(table.map(\.module)).count, "a module stands twice")
        let listed = Set(table.map(\.module))
        let folders = try tree.modules()
        let targets = try tree.targets()
        #expect(folders.subtracting(listed).sorted() == [], "add a row to docs/architecture.md, Allowed imports")
        #expect(listed.subtracting(folders).sorted() == [], "remove the row from docs/architecture.md")
        #expect(Set(targets.keys).symmetricDifference(folders).sorted() == [], "Package.swift and Sources differ")
    }

    @Test("every import is allowed, and everything that is allowed is imported")
    func imports() throws {
        for row in try tree.allowedImports() {
            let imports = try tree.imports(of: row.module)
            for (name, files) in imports where !row.allows(name) {
                Issue.record(
                    "\(row.module) may not import \(name) (\(files.sorted().joined(separator: ", "))); see docs/architecture.md"
                )
            }
            let unused = row.modules.union(row.libraries).subtracting(imports.keys)
            #expect(unused.sorted() == [], "\(row.module) imports none of these: remove them from docs/architecture.md")
        }
    }

    @Test("Package.swift declares for a module nothing that the module does not import")
    func declared() throws {
        for (module, dependencies) in try tree.targets() where try tree.hasSwift(module) {
            let imports = try tree.imports(of: module)
            let unused = dependencies.subtracting(imports.keys)
            #expect(unused.sorted() == [], "\(module) imports none of these: remove them from Package.swift")
        }
    }

    @Test("our modules depend downwards only")
    func noCycles() throws {
        var left = Dictionary(
            uniqueKeysWithValues: try tree.allowedImports().map { ($0.module, $0.modules) })
        while !left.isEmpty {
            let free = left.filter { $0.value.isDisjoint(with: left.keys) }.keys
            guard !free.isEmpty else {
                Issue.record("these modules import each other in a circle: \(left.keys.sorted())")
                return
            }
            for module in free { left[module] = nil }
        }
    }

    // MARK: - Rules that no row may break

    @Test(
        "a library that only one module may import",
        arguments: [
            ("CRdKafka", "KafkaClient"), ("CNghttp2", "PushGateway"), ("CAllocator", "beckon"),
            ("GRDB", "Storage"), ("CLibPQ", "Storage"),
            ("SwiftProtobuf", "ChallengeModel"), ("Yams", "ServiceSupport"), ("ArgumentParser", "beckon"),
        ])
    func soleImporter(library: String, module: String) throws {
        let importers = try tree.allowedImports().filter { $0.allows(library) }.map(\.module)
        #expect(importers == [module])
    }

    @Test(
        "no role imports another role",
        arguments: ["Producer", "DispatcherWorker", "AckTracker", "Webhooks", "Console"])
    func roles(role: String) throws {
        let importers = try tree.allowedImports().filter { $0.modules.contains(role) }.map(\.module)
        #expect(importers == ["beckon"], "only the executable knows the roles")
    }

    @Test(
        "modules without I/O import no Kafka, SQL, HTTP or network library",
        arguments: ["Wire", "ChallengeModel", "Challenges"])
    func pure(module: String) throws {
        guard let row = try tree.allowedImports().first(where: { $0.module == module }) else { return }
        let io = row.modules.union(row.libraries).filter { name in
            ["KafkaClient", "KafkaGroup", "HTTPEdge", "PushGateway", "Storage", "ServiceSupport"].contains(name)
                || ["GRDB", "NIO", "HTTP", "Hummingbird", "AsyncHTTPClient", "C"].contains { name.hasPrefix($0) }
                    && !["Crypto", "ChallengeModel"].contains(name)
        }
        #expect(io.sorted() == [])
    }

    @Test("DeviceKit goes into apps: of our modules it imports Wire only")
    func deviceKit() throws {
        #expect(try tree.allowedImports().first { $0.module == "DeviceKit" }?.modules == ["Wire"])
    }
}

/// A row of the table.
private struct AllowedImports {
    let module: String
    let modules: Set<String>
    let libraries: Set<String>

    /// Part of every toolchain; allowed everywhere.
    static let platform: Set<String> = [
        "Darwin", "Dispatch", "Foundation", "FoundationEssentials", "Glibc", "Synchronization",
    ]

    func allows(_ name: String) -> Bool {
        modules.contains(name) || libraries.contains(name) || Self.platform.contains(name)
    }
}

/// The checkout that this file is compiled from.
private struct SourceTree {
    private struct Unreadable: Error, CustomStringConvertible {
        let description: String
    }

    private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private var sources: URL { root.appending(path: "Sources") }

    /// The folders of `Sources`.
    func modules() throws -> Set<String> {
        Set(try FileManager.default.contentsOfDirectory(atPath: sources.path()).filter { !$0.hasPrefix(".") })
    }

    /// Whether the module has code of ours; a system library has none.
    func hasSwift(_ module: String) throws -> Bool { try !files(of: module).isEmpty }

    private func files(of module: String) throws -> [URL] {
        let folder = sources.appending(path: module)
        guard let walk = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil) else {
            throw Unreadable(description: "cannot list \(folder.path())")
        }
        return walk.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
    }

    /// What the module imports, each with the files that import it.
    func imports(of module: String) throws -> [String: [String]] {
        let line =
            /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+(?:(?:struct|class|enum|protocol|func|var|let|typealias|actor)\s+)?(?<name>\w+)/
            .anchorsMatchLineEndings()
        var imports: [String: [String]] = [:]
        for file in try files(of: module) {
            let text = try String(contentsOf: file, encoding: .utf8)
            for name in Set(text.matches(of: line).map { String($0.name) }) {
                imports[name, default: []].append(file.lastPathComponent)
            }
        }
        return imports
    }

    /// The table under the heading "Allowed imports".
    func allowedImports() throws -> [AllowedImports] {
        let text = try String(contentsOf: root.appending(path: "docs/architecture.md"), encoding: .utf8)
        guard let start = text.range(of: "\n### Allowed imports\n") else {
            throw Unreadable(description: "docs/architecture.md has no heading \"Allowed imports\"")
        }
        let section = text[start.upperBound...]
        let end = section.range(of: "\n#")?.lowerBound ?? section.endIndex
        return section[..<end].split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().map(names)
            return AllowedImports(
                module: cells[0].first ?? "", modules: Set(cells[1]), libraries: Set(cells[2]))
        }
    }

    /// The names in back-quotes.
    private func names(_ cell: Substring) -> [String] { cell.matches(of: /`(\w+)`/).map { String($0.1) } }

    /// The targets of Package.swift that stand in `Sources`, with the names of what each depends on.
    func targets() throws -> [String: Set<String>] {
        let text = try String(contentsOf: root.appending(path: "Package.swift"), encoding: .utf8)
        let products = Dictionary(
            uniqueKeysWithValues: text.matches(of: /static let (\w+) = product\(name: "(\w+)"/).map {
                (String($0.1), String($0.2))
            })
        var targets: [String: Set<String>] = [:]
        for block in text.split(separator: /\n        (?=\.|tests\()/) {
            guard let name = block.prefixMatch(of: /\.(?:target|executableTarget|systemLibrary)\(\s*name: "(\w+)"/)?.1,
                !block.contains("path: \"Tests/")
            else { continue }
            let list = block.firstMatch(of: /dependencies: \[([^\]]*)\]/)?.1 ?? ""
            let own = list.matches(of: /"(\w+)"/).map { String($0.1) }
            let outside = list.matches(of: /\.(\w+)/).map { products[String($0.1)] ?? String($0.1) }
            targets[String(name)] = Set(own + outside)
        }
        guard !targets.isEmpty else {
            throw Unreadable(description: "Package.swift has no targets that this test can read")
        }
        return targets
    }
}
