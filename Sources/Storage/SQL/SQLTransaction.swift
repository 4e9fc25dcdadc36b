import Challenges

/// The rows of an open transaction on a database that speaks SQL. The extensions in this folder are its verbs, a file
/// per table or two; they hold statements, one text for all databases, and nothing that decides.
///
/// A protocol and no generic type: each database's transaction is a type of its own, for which the compiler makes the
/// verbs anew.
protocol SQLTransaction: StoreTransaction {
    associatedtype Connection: SQLConnection
    var connection: Connection { get }
}

extension SQLTransaction {
    var dialect: SQLDialect { Connection.dialect }

    func prefetch(_ reads: () -> Void) throws { try connection.prefetch(reads) }
}
