/// The environment variables by which other programs are told of a proxy (`HTTPS_PROXY`, also in lower case). Beckon follows none of
/// them: what must not leave directly is set by name, and a variable meant for another program does not reroute pushes. Who has
/// set one is told so.
public enum ProxyVariables {
    private static let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]

    /// One sentence for the log, without the value, which may hold a password; nil when nothing is set, or nothing is to be said.
    /// - Parameters:
    ///   - role: the ones that open HTTP connections of their own are dispatcher, simulator and phone.
    ///   - isProxySet: `providers.proxy` is.
    public static func notice(role: Role, isProxySet: Bool, environment: [String: String]) -> String? {
        let found = names.filter { environment[$0]?.isEmpty == false }
        guard !found.isEmpty else { return nil }
        let subject =
            found.joined(separator: ", ") + (found.count == 1 ? " is set and ignored" : " are set and ignored")
        switch role {
        case .dispatcher where isProxySet: return nil
        case .dispatcher: return "\(subject): providers are reached directly; set providers.proxy to go through a proxy"
        case .simulator, .phone: return "\(subject): this role connects directly"
        case .producer, .ackTracker, .broker: return nil
        }
    }
}
