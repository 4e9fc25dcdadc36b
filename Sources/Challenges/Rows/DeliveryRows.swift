package import ChallengeModel

/// `delivery_facts`.
package protocol DeliveryRows {
    /// Whether the account has this challenge.
    func hasChallenge(_ sid: ChallengeSID, account: String) throws -> Bool
    func countFacts(of challenge: ChallengeSID) throws -> Int
    /// - Returns: false when a fact with this id already exists.
    func insertFact(_ fact: [UInt8], id: String, of challenge: ChallengeSID) throws -> Bool
    /// The facts, in no particular order.
    func facts(of challenge: ChallengeSID, limit: Int) throws -> [(id: String, fact: [UInt8])]
}

/// `credential_minutes` and `credential_incidents`: the results of the pushes of a credential.
package protocol CredentialHealthRows {
    /// The sums of the minutes after `minute`. A minute is epoch milliseconds / 60,000.
    func pushCounts(of credential: CredentialSID, afterMinute minute: Int64) throws -> PushCounts
    /// - Returns: whether earlier minutes may be there that are not needed any more; now and then.
    func add(_ counts: PushCounts, to minute: Int64, of credential: CredentialSID) throws -> Bool
    func deletePushCounts(of credential: CredentialSID, beforeMinute minute: Int64) throws
    func incident(_ kind: IncidentKind, of credential: CredentialSID) throws -> Incident?
    /// Opens an incident and replaces an older one. No push has been accepted since it began.
    func openIncident(_ kind: IncidentKind, of credential: CredentialSID, nowMs: Int64) throws
    /// Extends an incident, unless it was extended after `sinceMs`.
    func extendIncident(_ kind: IncidentKind, of credential: CredentialSID, unlessSinceMs sinceMs: Int64, nowMs: Int64)
        throws
    /// Records that a push was accepted, unless this was recorded after `sinceMs`.
    func noteAccepted(
        _ kind: IncidentKind, of credential: CredentialSID, unlessSinceMs sinceMs: Int64, nowMs: Int64) throws
}

/// Counts of visible pushes that a provider accepted, and of pushes whose token it did not know.
package struct PushCounts: Sendable, Hashable {
    package var accepted: Int64
    package var unknown: Int64

    package init(accepted: Int64 = 0, unknown: Int64 = 0) {
        self.accepted = accepted
        self.unknown = unknown
    }
}

package enum IncidentKind: String, Sendable {
    /// Too many tokens die at once.
    case dying
    /// The provider refuses the credential.
    case failed
}

package struct Incident: Sendable, Hashable {
    /// Time of the last fault in epoch milliseconds.
    package let lastMs: Int64
    /// Time of the last push that was accepted since the incident began, in epoch milliseconds; 0: none.
    package let acceptedMs: Int64

    package init(lastMs: Int64, acceptedMs: Int64) {
        self.lastMs = lastMs
        self.acceptedMs = acceptedMs
    }
}

/// The verbs of the outbox for a decision.
package protocol OutboxRows {
    /// Enqueues one record for Kafka, in the transaction of the change that causes it.
    func enqueue(_ record: OutboxRecord, nowMs: Int64) throws
    /// The sequence number of the next event. It ascends for the events of one writer.
    func nextEventSequence() throws -> UInt64
}

/// A record that is not in the outbox yet.
package struct OutboxRecord: Sendable, Hashable {
    package let topic: Topic
    package let key: String
    /// Empty: a tombstone.
    package let value: [UInt8]
    package var contentType: ContentType
    /// Expiry of a dispatch in epoch milliseconds. At or after this time it is deleted, not sent.
    package var expiresAtMs: Int64?
    package var traceparent: String?

    package init(
        _ topic: Topic, key: String, value: [UInt8], contentType: ContentType = .protobuf, expiresAtMs: Int64? = nil,
        traceparent: String? = nil
    ) {
        self.topic = topic
        self.key = key
        self.value = value
        self.contentType = contentType
        self.expiresAtMs = expiresAtMs
        self.traceparent = traceparent
    }
}

/// The rows that are deleted only because of their age.
package enum AgedRows: Sendable, CaseIterable {
    case requestIDs, accessTokens, codeCreations, factorCreations, deviceRequests, sessionTokens, idempotencyKeys
    case auditOfTraffic, audit, alerts
}

/// What is due by its time, and is judged one by one. The time is that of its creation for factors never verified, of
/// its expiry for a challenge, of the next look for a factor whose push token is dead.
package enum DueRows: Sendable {
    case expiredChallenges, unverifiedFactors, unverifiedCodeFactors, unreachableFactors
}

/// The days of a store that keeps challenges and the trail of traffic in partitions by day.
package struct Days: Sendable, Hashable {
    /// There is to be room for the day before this time, and for as many days behind it.
    package let nowMs: Int64
    package let ahead = 7
    /// Days that have ended by then may go.
    package let challengesUntilMs: Int64
    package let trafficUntilMs: Int64

    /// A time of the first day for which there is to be room.
    package var firstMs: Int64 { nowMs - StorePolicy.dayMs }
    /// A time of the last day for which there is to be room.
    package var lastMs: Int64 { nowMs + Int64(ahead) * StorePolicy.dayMs }

    package init(nowMs: Int64, challengesUntilMs: Int64, trafficUntilMs: Int64) {
        self.nowMs = nowMs
        self.challengesUntilMs = challengesUntilMs
        self.trafficUntilMs = trafficUntilMs
    }
}

package protocol SweptRows {
    /// Whether there is a row of that time or before.
    func hasDue(_ rows: DueRows, untilMs: Int64) throws -> Bool
    /// Whether a row ended at that time or before. For rows without an end, the time of creation counts.
    func hasAged(_ rows: AgedRows, untilMs: Int64) throws -> Bool
    /// The oldest first.
    func deleteAged(_ rows: AgedRows, untilMs: Int64, limit: Int) throws
    /// Whether a day is missing; false in a store without days, which has nothing to do with the next verbs either.
    func areDaysMissing(_ days: Days) throws -> Bool
    /// Whether a day has ended and may go, unless it holds a pending challenge.
    func haveDaysEnded(_ days: Days) throws -> Bool
    /// Days that were made, from that time on, of challenges and of the trail of traffic: the first `limit` of each in
    /// order. Empty in a store without days.
    func madeDays(fromMs: Int64, limit: Int) throws -> [[Int64]]
    /// Makes days that are missing. In a transaction of its own: others may wait for its end.
    func makeDays(_ days: Days) throws
    /// Takes ended days away that hold no pending challenge. In a transaction of its own.
    func dropDays(_ days: Days) throws
}
