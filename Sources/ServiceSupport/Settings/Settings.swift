import Configuration
public import Foundation

/// A fault in the configuration: the key, the source of its value, and the expected form.
public struct SettingsError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// The configuration of one process: flags, then `BECKON_…` environment variables, then a YAML file (`--config F` or
/// `BECKON_CONFIG`), read through swift-configuration. Every key is in ``Settings/all``.
public struct Settings: Sendable {
    /// The kind of source that a value comes from; the first one that has the key decides.
    public enum Origin: String, Sendable, CaseIterable {
        case flag
        case environment
        case file
    }

    struct Source: Sendable {
        let origin: Origin
        let name: @Sendable (SettingDescription) -> String
        let reader: ConfigReader
    }

    let sources: [Source]

    /// - Parameters:
    ///   - role: the role. Its keys are allowed as flags.
    ///   - arguments: the arguments after the subcommand: `--key value` or `--key=value`.
    /// - Throws: ``SettingsError`` for an unknown flag, variable or key, a secret that is given as a flag, a list where
    ///   a value is expected, or a file that cannot be read.
    public init(
        role: Role, arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment
    ) async throws(SettingsError) {
        let flags = try Self.flags(arguments, role: role)
        try SettingNames.checkEnvironment(environment)
        var sources = [
            Source(origin: .flag, name: { $0.flag }, reader: Self.reader(flags)),
            Source(
                origin: .environment, name: { "environment variable " + $0.environmentName },
                reader: ConfigReader(
                    provider: EnvironmentVariablesProvider(environmentVariables: environment, arraySeparator: "\u{0}")
                        .prefixKeys(with: "beckon"))),
        ]
        if let file = flags["config"] ?? environment["BECKON_CONFIG"] {
            sources.append(
                Source(
                    origin: .file, name: { "\(file), key " + $0.key }, reader: Self.reader(try SettingNames.file(file)))
            )
        }
        self.sources = sources
    }

    private static func reader(_ values: [String: String]) -> ConfigReader {
        ConfigReader(
            provider: InMemoryProvider(
                values: Dictionary(
                    uniqueKeysWithValues: values.map { key, text in
                        (
                            AbsoluteConfigKey(key.split(separator: ".").map(String.init)),
                            ConfigValue(.string(text), isSecret: false)
                        )
                    })))
    }

    /// The value, or its default.
    /// - Throws: ``SettingsError`` when a required value is missing, or a value does not have the expected form.
    public func callAsFunction<Value>(_ setting: Setting<Value>) throws(SettingsError) -> Value {
        guard let value = try optional(setting) else { throw Self.missing(setting.description) }
        return value
    }

    /// The value, or its default, or nil.
    public func optional<Value>(_ setting: Setting<Value>) throws(SettingsError) -> Value? {
        let about = setting.description
        guard let (text, source) = found(about) else { return setting.defaultValue }
        guard let value = setting.parse(text) else { throw wrong(text, about, source) }
        return value
    }

    /// The text of a key, without spaces around it, and the source that it comes from. An empty text counts as missing
    /// where the key has no default.
    func found(_ about: SettingDescription) -> (text: String, source: Source)? {
        for source in sources {
            guard let text = source.reader.string(forKey: ConfigKey(about.key), isSecret: about.isSecret) else {
                continue
            }
            let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
            if trimmed.isEmpty, about.defaultText == nil, !about.isRequired { continue }
            return (trimmed, source)
        }
        return nil
    }

    func wrong(_ text: String, _ about: SettingDescription, _ source: Source) -> SettingsError {
        let shown = about.isSecret ? "its value (a secret, not shown)" : "\"\(text.prefix(120))\""
        return SettingsError("\(source.name(about)): \(shown) is not right; expected \(Self.form(about))")
    }

    static func missing(_ about: SettingDescription) -> SettingsError {
        let ways =
            about.isSecret
            ? "\(about.environmentName) or \(about.key) in the configuration file"
            : "\(about.flag), \(about.environmentName) or \(about.key) in the configuration file"
        return SettingsError("\(about.key) is missing: set \(ways); expected \(form(about)). \(about.summary)")
    }

    private static func form(_ about: SettingDescription) -> String {
        about.range.isEmpty ? about.type : "\(about.type), \(about.range)"
    }

    /// The values of the flags, by key.
    private static func flags(_ arguments: [String], role: Role) throws(SettingsError) -> [String: String] {
        let known = all.filter { $0.roles.contains(role) }
        var found: [String: String] = [:]
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            guard argument.hasPrefix("--") else {
                throw SettingsError(
                    "unexpected argument \"\(argument)\"; expected --key value. See beckon \(role.rawValue) --help")
            }
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let about = known.first(where: { $0.flag == parts[0] }) else {
                let near = SettingNames.nearest(parts[0], known.map(\.flag))
                throw SettingsError(
                    "unknown flag \(parts[0]); did you mean \(near)? See beckon \(role.rawValue) --help")
            }
            guard found[about.key] == nil else {
                throw SettingsError("\(about.flag) is given twice; expected one value: \(form(about))")
            }
            guard !about.isSecret else {
                throw SettingsError(
                    "\(about.flag) is a secret and cannot be a flag, because every user of the machine can read flags: set \(about.environmentName)"
                )
            }
            if parts.count == 2 {
                found[about.key] = String(parts[1])
            } else if let value = rest.first, !value.hasPrefix("--") {
                found[about.key] = value
                rest.removeFirst()
            } else if about.type == "true or false" {
                found[about.key] = "true"
            } else {
                throw SettingsError("\(about.flag) needs a value: \(form(about))")
            }
        }
        return found
    }

    /// The help text of a role: its keys with their defaults.
    public static func help(for role: Role) -> String {
        let rows = all.filter { $0.roles.contains(role) }.map { about in
            let name = about.isSecret ? about.environmentName + " (environment or file)" : about.flag
            var facts = [form(about)]
            if let text = about.defaultText { facts.append("default \(text)") }
            if about.isRequired(by: role) { facts.append("required") }
            return "  \(name)\n      \(about.summary) (\(facts.joined(separator: "; ")))"
        }
        return "Settings are read from flags, then from BECKON_… environment variables, then from a YAML file.\n\n"
            + rows.joined(separator: "\n")
    }
}
