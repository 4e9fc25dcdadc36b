import ChallengeModel

/// An entity with what the limits of its person are judged by. Read under the entity's lock, changed, and written back.
package struct Person: Sendable, Hashable {
    package let entity: Entity
    package var limits: PersonLimits

    package init(entity: Entity, limits: PersonLimits) {
        self.entity = entity
        self.limits = limits
    }
}

/// What is counted of a person. Times are epoch milliseconds.
package struct PersonLimits: Sendable, Hashable {
    /// When as many creations are allowed at once as the limit has; 0: they are.
    package var creationsFullAtMs: Int64 = 0
    /// The last denials, oldest first.
    package var denialsMs: [Int64] = []
    /// Nothing is pushed before; 0: the person is not quiet.
    package var quietUntilMs: Int64 = 0
    /// When a reached limit was told last.
    package var limitToldMs: Int64 = 0
    /// Wrong numbers of all factors together.
    package var wrongNumbers = NumberGuesses("")

    package init() {}
}
