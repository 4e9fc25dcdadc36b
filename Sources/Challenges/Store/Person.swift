import ChallengeModel

/// An entity with the counters for the limits of its person. It is read under the entity's lock, changed and written
/// back.
package struct Person: Sendable, Hashable {
    package let entity: Entity
    package var limits: PersonLimits

    package init(entity: Entity, limits: PersonLimits) {
        self.entity = entity
        self.limits = limits
    }
}

/// The counters of a person. Times are epoch milliseconds.
package struct PersonLimits: Sendable, Hashable {
    /// Time at which the full burst of creations is available again; 0: it is available now.
    package var creationsFullAtMs: Int64 = 0
    /// The last denials, oldest first.
    package var denialsMs: [Int64] = []
    /// Nothing is pushed before this time; 0: the person is not quiet.
    package var quietUntilMs: Int64 = 0
    /// Time of the last event `limit.reached`.
    package var limitToldMs: Int64 = 0
    /// The wrong numbers of all factors together.
    package var wrongNumbers = NumberGuesses("")

    package init() {}
}
