/// Decides for a reader of topic `configuration` which records are new, so that an old record that is written again
/// with its old MAC has no effect. Each reader has one, and passes every record to it in the order of its partition. It
/// keeps a few bytes for each SID.
public struct ConfigurationVersions: Sendable {
    private var newest: [String: Int64] = [:]
    private var deleted: Set<String> = []
    /// Partitions in which a record with a version was read. A later record without a version is an old one.
    private var versioned: Set<Int32> = []

    public init() {}

    /// - Parameters:
    ///   - version: version of the record; 0: a record from before versions existed.
    ///   - isDeletion: true for a deletion record, or an empty value (version 0).
    /// - Returns: false for a record that is older than a record of the same SID that was read, and for every record of
    ///   a deleted SID.
    public mutating func admit(sid: String, version: Int64, isDeletion: Bool, partition: Int32) -> Bool {
        if isDeletion {
            guard version >= 0 else { return false }
            if version > 0 { versioned.insert(partition) }
            // A SID is never used twice, so a deletion is final.
            deleted.insert(sid)
            newest[sid] = max(newest[sid] ?? 0, version)
            return true
        }
        guard !deleted.contains(sid), version >= newest[sid] ?? 0, version > 0 || !versioned.contains(partition) else {
            return false
        }
        if version > 0 { versioned.insert(partition) }
        newest[sid] = version
        return true
    }
}
