/// Where a provider is: one setting each.
public struct ProviderEndpoint: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        /// Pushes go to it: `https://HOST[:PORT]`.
        case pushes
        /// Access tokens come from it: `https`, with a path. It is the only one that an assertion or a secret is sent to.
        case accessTokens
    }

    /// The key of the setting, `apns.url`.
    public let setting: String
    public let kind: Kind
    /// The provider's own, which is the setting's default.
    public let url: String
    /// For the table of settings.
    public let summary: String

    public init(setting: String, kind: Kind = .pushes, url: String, summary: String) {
        self.setting = setting
        self.kind = kind
        self.url = url
        self.summary = summary
    }

    public static func == (left: ProviderEndpoint, right: ProviderEndpoint) -> Bool { left.setting == right.setting }
    public func hash(into hasher: inout Hasher) { hasher.combine(setting) }
}
