/// Tells a reader of topic `configuration` which records say something new, so that an old one, written again with its old code, brings
/// nothing back. One per reader, fed with every record in the order of its partition. It holds a few bytes per SID ever seen.
public struct ConfigurationVersions: Sendable {
    private var newest: [String: Int64] = [:]
    private var deleted: Set<String> = []
    /// Partitions in which a record with a version was read: what has none behind it is older than it.
    private var versioned: Set<Int32> = []

    public init() {}

    /// - Parameters:
    ///   - version: 0: a record of before there were versions.
    ///   - isDeletion: of a record that says so, or an empty value (version 0).
    /// - Returns: false for a record that is older than what was read of the SID, or that would bring a deleted one back.
    public mutating func admit(sid: String, version: Int64, isDeletion: Bool, partition: Int32) -> Bool {
        if isDeletion {
            guard version >= 0 else { return false }
            if version > 0 { versioned.insert(partition) }
            // SIDs are never given out twice: gone is gone.
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
