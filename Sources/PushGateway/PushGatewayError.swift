/// Why the gateway could not be made or could not do something as a whole. What happens to one push is a ``PushAnswer``.
public struct PushGatewayError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// A setting is wrong; the message names it.
        case configuration
        /// A credential's key cannot be used.
        case credential
        /// No connection to a provider.
        case connection
    }

    public var code: Code
    /// What was wrong, where, and what would be right; without secrets.
    public var message: String

    public init(code: Code, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
