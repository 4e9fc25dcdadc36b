/// Why the store cannot write for now. Nothing of what was refused was done, unless ``mayBeDone`` says so.
public struct StoreFault: Sendable, Hashable {
    public enum Cause: String, Sendable, CaseIterable {
        /// Another process holds the write lock for longer than the store waits.
        case locked
        case diskFull = "disk-full"
        case readOnly = "read-only"
        /// Any other error of the disk or the file.
        case failing
        /// The database cannot be reached, or takes no connections.
        case unreachable
    }

    public let cause: Cause
    /// The error number and text of the database. It contains no stored values.
    public let detail: String
    /// The database has not said whether it did what was asked, and can no longer be asked: it may be done.
    public let mayBeDone: Bool

    public init(_ cause: Cause, detail: String, mayBeDone: Bool = false) {
        self.cause = cause
        self.detail = detail
        self.mayBeDone = mayBeDone
    }
}

extension StoreFault: CustomStringConvertible {
    /// For `/readyz` and logs.
    public var description: String { "\(cause.rawValue), \(detail)" }
}
