import ChallengeModel

/// The value of one key as a process would use it, for operators.
public struct SettingReading: Sendable {
    public let about: SettingDescription
    /// The source of the value; nil: the default, or the key is not set.
    public let origin: Settings.Origin?
    /// The source by name: the flag, the variable, or the file and key; nil like ``origin``.
    public let source: String?
    /// The value, or its default. A secret is never shown: `set, not shown`, and for a key ring the ids of its keys.
    /// Nil: the key is not set and has no default.
    public let text: String?
    /// Why the process would not start with this value; nil: the value is right.
    public let problem: String?
}

extension Settings {
    /// The values of all keys of a role, in the order of ``all``.
    public func readings(for role: Role) -> [SettingReading] {
        Self.all.filter { $0.roles.contains(role) }.map { about in
            guard let (text, source) = found(about) else {
                return SettingReading(
                    about: about, origin: nil, source: nil,
                    text: about.defaultText.flatMap { $0.isEmpty ? nil : $0 },
                    problem: about.isRequired ? Self.missing(about).description : nil)
            }
            return SettingReading(
                about: about, origin: source.origin, source: source.name(about),
                text: about.isSecret ? Self.hidden(text, about) : text,
                problem: about.accepts(text) ? nil : wrong(text, about, source).description)
        }
    }

    /// Ids are no secret: every record names the id of its key.
    private static func hidden(_ text: String, _ about: SettingDescription) -> String {
        guard about.type == keyRingType, let ring = try? KeyRing(parsing: text) else { return "set, not shown" }
        return "set, not shown: keys " + ring.keys.map(\.id).joined(separator: ", ")
    }
}
