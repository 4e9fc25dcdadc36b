package import ChallengeModel

/// All that Beckon knows of one push provider. Each provider has a folder of its own in this module and its line in
/// ``PushProviders/all``; nothing else names it.
package protocol PushProvider: Sendable {
    /// Its number in records.
    var platform: Platform { get }
    /// Its word in parameters, events and metrics, and the type of its credentials: lower-case letters.
    var word: String { get }
    var endpoints: [ProviderEndpoint] { get }
    var traits: ProviderTraits { get }

    /// Checks `Config.NotificationToken`, 32 to 255 characters already.
    /// - Returns: the token as it is kept.
    func pushToken(_ text: String) throws(ParameterFault) -> String

    /// Reads a new credential; what a dispatcher would stumble over is refused here, where someone reads the answer.
    /// - Returns: the secret; account and SID are the caller's.
    func readCredential(
        _ parameters: inout some CredentialParameters
    ) throws(ParameterFault) -> ProviderCredential.OneOf_Secret

    /// Makes a credential ready to send with.
    /// - Returns: nil when the secret is another provider's.
    /// - Throws: ``UnusableCredential`` that names the field.
    func open(_ secret: ProviderCredential.OneOf_Secret) throws -> (any OpenCredential)?

    /// Of a push that was rejected: the provider knows no such token here. Of one token its own fault, of all of them the
    /// credential's.
    func isTokenUnknown(_ reason: String) -> Bool

    /// The code of the event `push.failed` (docs/api.md).
    func errorCode(of failure: PushFailure) -> UInt32
}

extension PushProvider {
    package var traits: ProviderTraits { ProviderTraits() }

    package func pushToken(_ text: String) throws(ParameterFault) -> String {
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw ParameterFault("Config.NotificationToken", "printable ASCII without spaces")
        }
        return text
    }
}

/// What the roles ask about a platform with every push.
package struct ProviderTraits: Sendable, Hashable {
    /// It takes pushes that show nothing.
    package var takesBackgroundPushes = false
    /// Its own delivery receipts bring back a tag that the push carried.
    package var returnsReceiptTags = false
}

/// A push that a provider refused.
package struct PushFailure: Sendable, Hashable {
    /// `rejected`, `tokenDead` or `credentialFault`.
    package var disposition: Disposition
    /// HTTP status; 0 when no answer came.
    package var status: UInt32
    /// The provider's word, or ours.
    package var reason: String

    package init(disposition: Disposition, status: UInt32, reason: String) {
        self.disposition = disposition
        self.status = status
        self.reason = reason
    }

    /// The code where the reason alone does not decide it.
    /// - Parameters:
    ///   - tooLarge: for 413.
    ///   - other: for everything else.
    func code(dead: UInt32, credential: UInt32, tooLarge: UInt32, other: UInt32) -> UInt32 {
        switch disposition {
        case .tokenDead: dead
        // No answer and a faulty credential: there was nothing to present.
        case .credentialFault: status == 0 ? 52004 : credential
        default: status == 413 ? tooLarge : other
        }
    }
}
