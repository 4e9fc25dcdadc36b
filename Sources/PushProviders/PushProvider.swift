package import ChallengeModel

/// Everything that Beckon knows about one push provider. Each provider has its own folder in this module and one line
/// in ``PushProviders/all``. Outside of it, providers are named only where a service chooses its credentials, and where
/// the receipts of Huawei's servers are read.
package protocol PushProvider: Sendable {
    /// The provider's number in records.
    var platform: Platform { get }
    /// The provider's name in parameters, events and metrics, and the type of its credentials. Lower-case letters only.
    var word: String { get }
    var endpoints: [ProviderEndpoint] { get }
    var traits: ProviderTraits { get }

    /// Checks `Config.NotificationToken`. The caller has checked its length (32 to 255 characters).
    /// - Returns: the token in the form in which Beckon stores it.
    func pushToken(_ text: String) throws(ParameterFault) -> String

    /// Reads a new credential. It refuses everything that a dispatcher could not use, because here the caller reads the
    /// error.
    /// - Returns: the secret. The caller adds account and SID.
    func readCredential(
        _ parameters: inout some CredentialParameters
    ) throws(ParameterFault) -> ProviderCredential.OneOf_Secret

    /// Opens a credential, so that it can send pushes.
    /// - Returns: nil when the secret belongs to another provider.
    /// - Throws: ``UnusableCredential`` that names the field.
    func open(_ secret: ProviderCredential.OneOf_Secret) throws -> (any OpenCredential)?

    /// Whether the reason of a rejected push says that the provider does not know the token for this credential. A
    /// single unknown token is faulty itself. When all tokens are unknown, the credential is faulty.
    func isTokenUnknown(_ reason: String) -> Bool

    /// The error code for the event `push.failed` (docs/api.md).
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

/// Properties of a platform that the roles need for every push.
package struct ProviderTraits: Sendable, Hashable {
    /// True when the provider accepts pushes that show nothing.
    package var takesBackgroundPushes = false
    /// True when the provider's own delivery receipts return a tag from the push.
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

    /// The error code when the reason alone does not determine it.
    /// - Parameters:
    ///   - tooLarge: for 413.
    ///   - other: for everything else.
    func code(dead: UInt32, credential: UInt32, tooLarge: UInt32, other: UInt32) -> UInt32 {
        switch disposition {
        case .tokenDead: dead
        // Without an answer, the credential was faulty before anything was sent.
        case .credentialFault: status == 0 ? 52004 : credential
        default: status == 413 ? tooLarge : other
        }
    }
}
