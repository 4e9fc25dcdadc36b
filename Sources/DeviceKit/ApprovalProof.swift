/// What an approval needs beside its signature, where the challenge says so: see ``DeviceChallenge/numberDigits`` and
/// ``DeviceChallenge/requiresSession``. A denial needs nothing.
public struct ApprovalProof: Sendable, Hashable {
    /// As the person read it where they sign in, and typed it into the app.
    public var number: String?
    /// From the app's backend, which had it from `POST …/SessionTokens` for the person signed in to the app.
    public var sessionToken: String?

    public init(number: String? = nil, sessionToken: String? = nil) {
        self.number = number
        self.sessionToken = sessionToken
    }
}
