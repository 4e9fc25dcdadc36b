/// A call of ``BackendClient`` that failed.
public struct BackendError: Error, Sendable, Hashable, CustomStringConvertible {
    /// HTTP status; 0: no answer came.
    public var status: Int
    /// The API's code; 0 when there was none.
    public var code: Int
    public var message: String

    public init(status: Int, code: Int, message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    public var description: String { "\(status), code \(code): \(message)" }
}
