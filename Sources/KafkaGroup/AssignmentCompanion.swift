public import KafkaClient

/// Work of a role that lasts as long as an assignment of a ``GroupReader``: what the owner of a partition does beside
/// reading it. The reader calls it for one assignment after the other.
public protocol AssignmentCompanion: Sendable {
    /// Called before the first record of an assignment is read.
    /// - Returns: false when it must be tried again; the reader waits in between, and refuses the assignment when it is
    ///   revoked or
    ///   the reader stops.
    func prepare() async -> Bool

    /// An assignment begins.
    /// - Returns: what the reader runs beside its partitions. It must end after ``stop(within:)``, or when it is
    ///   cancelled.
    func begin(_ partitions: Set<TopicPartition>) -> @Sendable () async -> Void

    /// The assignment ends: start nothing more, wait at most this long for what is under way, and give up the rest.
    /// When it returns, nothing is under way. Called also when no assignment has begun.
    func stop(within deadline: Duration) async
}
