import Challenges
import GRDB

/// The rows of an open transaction. The extensions in this folder are its verbs, a file per table or two; they hold statements and
/// nothing that decides.
struct SQLiteTransaction: StoreTransaction {
    let database: Database
}
