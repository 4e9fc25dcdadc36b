import Challenges
import Testing

@testable import Storage

extension ChallengeStore {
    /// Of a store that was opened in a file: for statements of a test's own.
    var sqlite: SQLiteEngine {
        get throws { try #require(engine as? SQLiteEngine, "a store in a file") }
    }
}
