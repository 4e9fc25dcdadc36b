import ChallengeModel
import Challenges

/// The verbs of ``DeliveryRows``.
extension SQLTransaction {
    func hasChallenge(_ sid: ChallengeSID, account: String) throws -> Bool {
        try connection.exists(
            "SELECT 1 FROM challenges WHERE sid = ? AND account_sid = ?", [sid.rawValue, account])
    }

    func countFacts(of challenge: ChallengeSID) throws -> Int {
        Int(try connection.integer("SELECT count(*) FROM delivery_facts WHERE challenge_sid = ?", [challenge.rawValue]))
    }

    func insertFact(_ fact: [UInt8], id: String, of challenge: ChallengeSID) throws -> Bool {
        try connection.hasChanged(
            """
            INSERT INTO delivery_facts (challenge_sid, id, fact) VALUES (?, ?, ?) \
            ON CONFLICT (challenge_sid, id) DO NOTHING
            """, [challenge.rawValue, id, blob(fact)])
    }

    func facts(of challenge: ChallengeSID, limit: Int) throws -> [(id: String, fact: [UInt8])] {
        try connection.rows(
            "SELECT id, fact FROM delivery_facts WHERE challenge_sid = ? LIMIT ?", [challenge.rawValue, limit]
        ).map { row in
            var columns = Columns(row)
            return (columns.text(), columns.bytes())
        }
    }
}
