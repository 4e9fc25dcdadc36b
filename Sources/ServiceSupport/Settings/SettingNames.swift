import Foundation
import Yams

/// The names of settings. An unknown name is refused, and the error names the nearest setting. Otherwise a misspelt
/// name would silently leave the default in force.
enum SettingNames {
    /// Credentials for commands that call the HTTP API (`beckon challenge`).
    private static let commandVariables: Set<String> = ["BECKON_ACCOUNT_SID", "BECKON_AUTH_TOKEN"]

    /// - Throws: ``SettingsError`` for variables `BECKON_…` that are not a setting of any role.
    /// Variables that an orchestrator adds for a service called `beckon…` are ignored: Kubernetes and Docker links put
    /// `BECKON_SERVICE_HOST`, `BECKON_SERVICE_PORT` and `BECKON_PORT_8080_TCP…` into every container of a namespace.
    static func checkEnvironment(_ environment: [String: String]) throws(SettingsError) {
        let known = Settings.all.map(\.environmentName)
        let unknown = environment.keys.filter {
            $0.hasPrefix("BECKON_") && !known.contains($0) && !commandVariables.contains($0)
                && !isLink($0, environment[$0] ?? "")
        }
        guard !unknown.isEmpty else { return }
        let told = unknown.sorted().map {
            "environment variable \($0) is no setting; did you mean \(nearest($0, known))?"
        }
        throw SettingsError(told.joined(separator: "; ") + " docs/configuration.md lists all settings")
    }

    private static func isLink(_ name: String, _ value: String) -> Bool {
        if name.contains(#/_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$/#) {
            return true
        }
        return name.hasSuffix("_PORT") && value.contains("://")
    }

    /// The scalars of a YAML file by key.
    /// - Throws: ``SettingsError`` when the file cannot be read or is not a mapping, for unknown keys, and for a list
    ///   or mapping where a value is expected. The error contains no value, because it may be a secret.
    static func file(_ path: String) throws(SettingsError) -> [String: String] {
        let root: Node?
        do {
            root = try Yams.compose(yaml: try String(contentsOf: URL(filePath: path), encoding: .utf8))
        } catch {
            let said = "\(error)".split(separator: "\n").first.map(String.init) ?? ""
            throw SettingsError("configuration file \(path): \(said); expected a readable YAML mapping")
        }
        var found: [String: String] = [:]
        var wrong: [String] = []
        switch root {
        case .mapping(let mapping): read(mapping, under: "", &found, &wrong)
        case nil: break
        default: wrong.append("expected a mapping, key: value")
        }
        guard wrong.isEmpty else {
            throw SettingsError("configuration file \(path): " + wrong.joined(separator: "; "))
        }
        return found
    }

    private static func read(
        _ mapping: Node.Mapping, under prefix: String, _ found: inout [String: String], _ wrong: inout [String]
    ) {
        let known = Settings.all.map(\.key)
        for (name, value) in mapping {
            let key = prefix + (name.scalar?.string ?? "?")
            let about = Settings.all.first { $0.key == key }
            let isGroup = known.contains { $0.hasPrefix(key + ".") }
            switch (value, about) {
            case (.scalar(let scalar), .some): found[key] = scalar.string
            case (.scalar(let scalar), nil) where isGroup && scalar.string.isEmpty: break
            case (.mapping(let inner), nil) where isGroup: read(inner, under: key + ".", &found, &wrong)
            case (.sequence, .some(let about)):
                wrong.append("key \(key) is a list; expected one text: \(about.type)")
            case (.mapping, .some(let about)):
                wrong.append("key \(key) is a mapping; expected one text: \(about.type)")
            case (_, nil) where isGroup:
                wrong.append("key \(key) has a value of its own; expected keys below it, \(nearest(key, known))")
            default:
                wrong.append("key \(key) is no setting; did you mean \(nearest(key, known))?")
            }
        }
    }

    /// The known name with the smallest edit distance, in the whole name or in one of its groups; among equal ones the
    /// first.
    static func nearest(_ name: some StringProtocol, _ known: [String]) -> String {
        let lowered = name.lowercased()
        func changes(_ candidate: String) -> Int {
            let parts = candidate.lowercased().split(separator: ".")
            return (1...max(parts.count, 1)).map { distance(parts.prefix($0).joined(separator: "."), lowered) }.min()
                ?? .max
        }
        return known.min { changes($0) < changes($1) } ?? ""
    }

    /// The Levenshtein distance: the number of letters to insert, delete or replace.
    private static func distance(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a.utf8), Array(b.utf8.prefix(200)))
        var row = Array(0...b.count)
        for (i, letter) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, other) in b.enumerated() {
                let above = row[j + 1]
                row[j + 1] = letter == other ? diagonal : min(diagonal, row[j], above) + 1
                diagonal = above
            }
        }
        return row[b.count]
    }
}
