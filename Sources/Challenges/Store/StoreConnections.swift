/// The connections of a store behind a network, and what became of transactions on them since it was opened.
public struct StoreConnections: Sendable, Hashable {
    public let open: Int
    public let busy: Int
    /// Callers that wait for one.
    public let waiting: Int
    /// Transactions refused because no connection was free or usable, or the database could not do them.
    package(set) public var refused = 0
    /// Transactions run again from their start.
    package(set) public var repeated = 0
    /// COMMITs without an answer that were found done.
    package(set) public var settledCommits = 0
    /// The same, found undone.
    package(set) public var settledAborts = 0
    /// The same, of which it could not be told.
    package(set) public var unknownCommits = 0

    package init(open: Int, busy: Int, waiting: Int) {
        self.open = open
        self.busy = busy
        self.waiting = waiting
    }
}
