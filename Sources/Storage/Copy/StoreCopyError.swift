/// Why a store was not copied.
public enum StoreCopyError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Nothing was written: the source is in use, the target holds other data, a schema is not this version's.
    case refused(String)
    /// It stopped on the way. What was copied stays, and the same command goes on from there.
    case failed(String)
    /// All rows are copied, and a table differs.
    case differs(String)

    public var description: String {
        switch self {
        case .refused(let reason), .failed(let reason), .differs(let reason): reason
        }
    }
}
