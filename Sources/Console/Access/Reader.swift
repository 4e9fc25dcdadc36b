/// The person in front of the console.
struct Reader: Sendable, Hashable {
    /// As the proxy names them, or the role of the token.
    var name: String
    var mayAct: Bool
    /// Whether a cookie of the console's own says who they are.
    var canSignOut = false
}
