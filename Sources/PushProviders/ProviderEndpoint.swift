/// An address of a provider. Each has its own setting.
public struct ProviderEndpoint: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        /// The endpoint for pushes: `https://HOST[:PORT]`.
        case pushes
        /// The endpoint for access tokens: `https`, with a path. An assertion or a secret is sent to no other endpoint.
        case accessTokens
    }

    /// The key of the setting, `apns.url`.
    public let setting: String
    public let kind: Kind
    /// The provider's public URL, which is the default of the setting.
    public let url: String
    /// The summary in the table of settings.
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
