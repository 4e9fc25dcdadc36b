/// Why the store cannot write for now. Nothing of what was refused was done; reads go on.
public struct StoreFault: Sendable, Hashable {
    public enum Cause: String, Sendable, CaseIterable {
        /// Another process writes, and holds the lock for longer than the store waits.
        case locked
        case diskFull = "disk-full"
        case readOnly = "read-only"
        /// Any other error of the disk or the file.
        case failing
    }

    public let cause: Cause
    /// The database's own number and words; holds no values.
    public let detail: String

    public init(_ cause: Cause, detail: String) {
        self.cause = cause
        self.detail = detail
    }
}
