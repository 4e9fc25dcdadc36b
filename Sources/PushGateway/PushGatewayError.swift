/// An error of the gateway as a whole: it could not be created, or an operation failed. The result of one push is a
/// ``PushAnswer``.
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
    /// The fault, its place and the expected form, without secrets.
    public var message: String

    public init(code: Code, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
