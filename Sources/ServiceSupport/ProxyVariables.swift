/// The environment variables that set a proxy for other programs (`HTTPS_PROXY`, also in lower case). Beckon ignores
/// them, so that a variable for another program does not reroute pushes. Set `providers.proxy` instead. A role that
/// finds such a variable logs this.
public enum ProxyVariables {
    private static let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]

    /// One sentence for the log, without the value, which may contain a password. Nil when no variable is set, or the
    /// variable does not matter for the role.
    /// - Parameters:
    ///   - role: the ones that open HTTP connections of their own are dispatcher, webhooks, console, simulator and
    ///     phone.
    ///   - isProxySet: `providers.proxy` is.
    public static func notice(role: Role, isProxySet: Bool, environment: [String: String]) -> String? {
        let found = names.filter { environment[$0]?.isEmpty == false }
        guard !found.isEmpty else { return nil }
        let subject =
            found.joined(separator: ", ") + (found.count == 1 ? " is set and ignored" : " are set and ignored")
        switch role {
        case .dispatcher where isProxySet: return nil
        case .dispatcher: return "\(subject): providers are reached directly; set providers.proxy to go through a proxy"
        case .simulator, .phone, .webhooks, .console: return "\(subject): this role connects directly"
        case .producer, .ackTracker, .broker: return nil
        }
    }
}
