/// Values that an approval needs in addition to its signature, when the challenge requires them: see
/// ``DeviceChallenge/numberDigits`` and ``DeviceChallenge/requiresSession``. A denial needs none of them.
public struct ApprovalProof: Sendable, Hashable {
    /// The number that the person read where they sign in, and typed into the app.
    public var number: String?
    /// The session token from the app's backend. The backend gets it by `POST …/SessionTokens` for the person who is
    /// signed in to the app.
    public var sessionToken: String?

    /// - Parameters:
    ///   - number: see ``number``; nil when the challenge needs none.
    ///   - sessionToken: see ``sessionToken``; nil when the challenge needs none.
    public init(number: String? = nil, sessionToken: String? = nil) {
        self.number = number
        self.sessionToken = sessionToken
    }
}
