import Challenges

@testable import Storage

extension ChallengeStore {
    /// Of a store that was opened in a file: for statements of a test's own.
    var sqlite: SQLiteEngine { engine as! SQLiteEngine }
}
