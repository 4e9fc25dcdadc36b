/// Whether APNs' `BadDeviceToken`, or HMS's 80300007, speaks of the token or of us. A sandbox token sent to production, or the key of another app, gets
/// the same answer as a token that is wrong: it kills a token only where others are taken.
struct EnvironmentProof: Equatable, Sendable {
    /// So many bad tokens behind each other are not the tokens' fault any more.
    static let mostInARow = 3
    /// Worth a line in the log.
    static let alarming = 20

    private var isProven = false
    private(set) var inARow = 0

    /// APNs knew a token of ours: it took a push, or said when the token had died.
    mutating func knewToken() {
        isProven = true
        inARow = 0
    }

    /// APNs called a token bad. - Returns: true when it is the token's own fault.
    mutating func calledBad() -> Bool {
        inARow += 1
        return isProven && inARow <= Self.mostInARow
    }
}
