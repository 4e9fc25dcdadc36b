/// A role of Beckon: the subcommand of one executable.
public enum Role: String, Sendable, CaseIterable {
    case producer
    case dispatcher
    case ackTracker = "ack-tracker"
    case webhooks
    case console
    case broker
    case simulator
    case phone

    /// The roles that use Kafka and run in a cluster.
    public static let workers: Set<Role> = [.producer, .dispatcher, .ackTracker, .webhooks]
    /// The roles that can use Kafka; the console needs it for its page of dead letters only.
    public static let kafka: Set<Role> = workers.union([.console])
    public static let everyone = Set(allCases)
}

/// The description of a configuration key, for the help text, docs/configuration.md and errors.
public struct SettingDescription: Sendable, Hashable {
    /// Dotted camel case, as in the YAML file: `kafka.bootstrapServers`.
    public let key: String
    /// The form of a value: `host:port,…`, `milliseconds`, `path`.
    public let type: String
    /// The default as text; nil: none.
    public let defaultText: String?
    public let range: String
    /// A secret is never shown, and refused as a flag, because every user of the machine can read the arguments of a
    /// process.
    public let isSecret: Bool
    /// True when the role does not start without the key.
    public let isRequired: Bool
    public let roles: Set<Role>
    public let summary: String
    /// Whether a text has the expected form and is in range.
    var accepts: @Sendable (String) -> Bool = { _ in true }

    // A key has one description.
    public static func == (lhs: SettingDescription, rhs: SettingDescription) -> Bool { lhs.key == rhs.key }
    public func hash(into hasher: inout Hasher) { hasher.combine(key) }

    /// Whether a role does not start without the key. The console needs Kafka and the store for one page only.
    public func isRequired(by role: Role) -> Bool { isRequired && role != .console }

    /// `BECKON_KAFKA_BOOTSTRAP_SERVERS`.
    public var environmentName: String { "BECKON_" + words.joined(separator: "_").uppercased() }
    /// `--kafka-bootstrap-servers`.
    public var flag: String { "--" + words.joined(separator: "-") }

    private var words: [String] {
        key.split(separator: ".").flatMap { part in
            var words: [String] = []
            var word = ""
            for character in part {
                if character.isUppercase, !word.isEmpty {
                    words.append(word)
                    word = ""
                }
                word.append(contentsOf: character.lowercased())
            }
            return words + [word]
        }
    }
}

/// One key of the configuration with the type of its value.
public struct Setting<Value: Sendable>: Sendable {
    public let description: SettingDescription
    let defaultValue: Value?
    /// Reads a value; nil when the text does not have the expected form, or is out of range.
    let parse: @Sendable (String) -> Value?

    init(_ description: SettingDescription, default defaultValue: Value?, parse: @escaping @Sendable (String) -> Value?)
    {
        var description = description
        description.accepts = { parse($0) != nil }
        self.description = description
        self.defaultValue = defaultValue
        self.parse = parse
    }
}

extension Setting where Value == String {
    static func text(
        _ key: String, type: String = "text", default value: String? = nil, range: String = "", isSecret: Bool = false,
        isRequired: Bool = false, roles: Set<Role>, _ summary: String,
        check: @escaping @Sendable (String) -> Bool = { !$0.isEmpty }
    ) -> Setting {
        Setting(
            SettingDescription(
                key: key, type: type, defaultText: value, range: range, isSecret: isSecret, isRequired: isRequired,
                roles: roles, summary: summary), default: value
        ) { check($0) ? $0 : nil }
    }
}

extension Setting where Value == Int {
    /// Its default; 0 when it has none.
    package var standard: Int { defaultValue ?? 0 }

    static func integer(
        _ key: String, type: String = "integer", default value: Int, range: ClosedRange<Int>, roles: Set<Role>,
        _ summary: String
    ) -> Setting {
        Setting(
            SettingDescription(
                key: key, type: type, defaultText: String(value), range: "\(range.lowerBound)–\(range.upperBound)",
                isSecret: false, isRequired: false, roles: roles, summary: summary), default: value
        ) { text in Int(text).flatMap { range.contains($0) ? $0 : nil } }
    }
}

extension Setting where Value == Duration {
    /// Its default in milliseconds; 0 when it has none.
    package var standardMilliseconds: Int { defaultValue.map { Int($0 / .milliseconds(1)) } ?? 0 }

    static func milliseconds(
        _ key: String, default value: Int, range: ClosedRange<Int>, roles: Set<Role>, _ summary: String
    ) -> Setting {
        Setting(
            SettingDescription(
                key: key, type: "milliseconds", defaultText: String(value),
                range: "\(range.lowerBound)–\(range.upperBound)", isSecret: false, isRequired: false, roles: roles,
                summary: summary), default: .milliseconds(value)
        ) { text in Int(text).flatMap { range.contains($0) ? .milliseconds($0) : nil } }
    }
}

extension Setting where Value == Bool {
    static func flag(_ key: String, default value: Bool, roles: Set<Role>, _ summary: String) -> Setting {
        Setting(
            SettingDescription(
                key: key, type: "true or false", defaultText: String(value), range: "", isSecret: false,
                isRequired: false,
                roles: roles, summary: summary), default: value
        ) { ["true": true, "yes": true, "1": true, "false": false, "no": false, "0": false][$0.lowercased()] }
    }
}
